//go:build !amd64

package signals

// treatQueuedAsSent does nothing: there are no nodes with other processors yet.
func treatQueuedAsSent() {}
