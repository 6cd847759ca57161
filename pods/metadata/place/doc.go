// Package place writes the files of a node, and remembers of which machine they are: a
// disk that is put into another one starts afresh.
//
// What it has written is in the record of package instance. A file that is not, or that
// was changed since, is the user's: it stays as it is, unless the user data name that very
// file. A file that is not wanted any more goes, and what it was written over comes back.
// The kubelet joins when the kubeconfig is there, so that is written last.
//
// It asks nobody, and knows no provider and no format of user data.
package place
