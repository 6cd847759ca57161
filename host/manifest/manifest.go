// Package manifest completes manifests of static pods.
//
// It works on their text, so that comments stay. It checks nothing else about a
// pod: what the kubelet would refuse is known by package diskimage.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
)

// metadata is the line that begins a pod's metadata, in block style.
var metadata = []byte("\nmetadata:\n")

// WithUID gives a static pod a UID that is made from its manifest. Without one
// the kubelet makes it from the node's name, too, and restarts the pod when a
// name arrives late from the network, which a pod brings (docs/decisions/0012).
func WithUID(text []byte) ([]byte, error) {
	if !bytes.Contains(text, metadata) {
		return nil, errors.New("the manifest has no line \"metadata:\", below which its UID belongs")
	}
	sum := sha256.Sum256(text)
	return bytes.Replace(text, metadata, fmt.Appendf(nil, "%s  uid: \"%x\"\n", metadata, sum[:16]), 1), nil
}
