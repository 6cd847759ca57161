package joining

import (
	"context"
	"fmt"

	"kios/upstream/kubelet/watch"
)

// Watch returns what the files amount to, as soon as that is better than m, with
// which the kubelet was started: the node can join, or it waits for a certificate
// and has got other credentials to ask with. It returns false at once for a node
// that is in its cluster and needs no restart.
func (f Files) Watch(ctx context.Context, m Membership, node string, say Say) (Membership, bool) {
	if m.settled() {
		return m, false
	}
	now, better := m, false
	files := func() []string { return append([]string{f.Kubeconfig, f.Bootstrap}, now.refs...) }
	done := func() bool {
		now = f.read(node, say)
		better = now.betters(m)
		return better || m.Waiting && now.settled() // the kubelet has got its certificate
	}
	if !watch.Until(ctx, files, done, say) {
		return m, false
	}
	return now, better
}

// settled reports whether the node has all that it needs to be in its cluster.
func (m Membership) settled() bool { return m.Server != "" && !m.Waiting }

// betters reports whether a kubelet that was started with old is to start again.
func (m Membership) betters(old Membership) bool {
	switch {
	case m.Server == "":
		return false
	case old.Server == "", m.ready && !old.ready:
		return true
	}
	return m.Waiting && m.secret != old.secret
}

// Once says each sentence one time: files are read again and again. It is for one
// goroutine at a time.
func (say Say) Once() Say {
	said := map[string]bool{}
	return func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			say("%s", text)
		}
	}
}
