package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"kios/internal/wholefile"
)

// groupAnnotation is how a pod asks to share the shim of others. Its processes and theirs
// then have one parent, one memory, and end together if that fails.
const groupAnnotation = "io.containerd.runc.v2.group"

// What containerd and the kubelet note about a pod. The kubelet writes its source itself,
// so an API server's pod cannot claim to be a file.
const (
	namespaceAnnotation = "io.kubernetes.cri.sandbox-namespace"
	sourceAnnotation    = "kubernetes.io/config.source"
)

// maxBundle bounds the configuration of a bundle that is read: several times what the
// largest pod of an API server makes of it.
const maxBundle = 32 << 20

// allowGroup leaves the request to share a shim in the bundle's configuration, the file
// config, only if the pod is one of the node's own: a file, of the namespace kube-system.
// Any other pod could end the system's pods with its shim.
func allowGroup(config string) error {
	text, err := readBundle(config)
	if err != nil || !bytes.Contains(text, []byte(groupAnnotation)) {
		return err
	}
	var spec map[string]json.RawMessage
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	var annotations map[string]string
	if err := json.Unmarshal(spec["annotations"], &annotations); err != nil {
		return nil // it has none
	}
	if annotations[namespaceAnnotation] == "kube-system" && annotations[sourceAnnotation] == "file" {
		return nil
	}
	delete(annotations, groupAnnotation)
	if spec["annotations"], err = json.Marshal(annotations); err != nil {
		return err
	}
	if text, err = json.Marshal(spec); err != nil {
		return err
	}
	return wholefile.Volatile(config, text, 0o644)
}

func readBundle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err == nil && len(text) > maxBundle {
		err = errors.New(path + " is too large")
	}
	return text, err
}
