package etccheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"
)

// checkManifests checks the static pods' manifests in a directory. system are the names
// of the files that an empty one may take the place of.
func checkManifests(dir string, system []string) []error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // the node puts a file aside, and says so
	}
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // the kubelet skips these
		}
		path := filepath.Join(dir, e.Name())
		if err := checkManifest(path, system); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errs
}

func checkManifest(path string, system []string) error {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a file; the kubelet does not look into directories here")
	}
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return err
	case len(strings.TrimSpace(string(data))) > 0:
		return checkPod(data)
	case slices.Contains(system, filepath.Base(path)):
		return nil // the documented way to remove a system pod
	}
	return fmt.Errorf("is empty, which removes a system pod, but none has this name (%s)", strings.Join(system, ", "))
}

// separator stands between YAML documents.
var separator = regexp.MustCompile(`(?m)^---(?:[ \t].*)?$`)

// comment is a line without content.
var comment = regexp.MustCompile(`(?m)^[ \t]*(#.*)?$`)

// documents counts the YAML documents with content: templates leave empty ones behind.
func documents(text string) int {
	n := 0
	for _, part := range separator.Split(text, -1) {
		if strings.TrimSpace(comment.ReplaceAllString(part, "")) != "" {
			n++
		}
	}
	return n
}

// pod is as much of the API's Pod as a static one cannot do without.
type pod struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec spec `json:"spec"`
}

type spec struct {
	references
	Containers     []container `json:"containers"`
	InitContainers []container `json:"initContainers"`
	Volumes        []volume    `json:"volumes"`
}

type container struct {
	Name    string `json:"name"`
	Image   string `json:"image"`
	EnvFrom []any  `json:"envFrom"`
	Env     []struct {
		Name      string `json:"name"`
		ValueFrom struct {
			ConfigMapKeyRef any `json:"configMapKeyRef"`
			SecretKeyRef    any `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
}

func checkPod(data []byte) error {
	if n := documents(string(data)); n > 1 {
		return fmt.Errorf("has %d YAML documents, but the kubelet reads only the first one: use one file for each pod", n)
	}
	var p pod
	json, err := yaml.YAMLToJSONStrict(data)
	if err == nil {
		err = yaml.Unmarshal(json, &p)
	}
	if err != nil {
		return yamlError(err)
	}
	return errors.Join(p.check(), p.Spec.checkReferences())
}

func (p *pod) check() error {
	switch {
	case p.Kind == "":
		return errors.New("has no kind; it must have kind: Pod")
	case p.Kind != "Pod":
		return fmt.Errorf("kind is %s, but the kubelet itself runs only kind: Pod", p.Kind)
	case p.APIVersion != "v1":
		return fmt.Errorf("apiVersion is %q; it must be v1", p.APIVersion)
	case p.Metadata.Name == "":
		return errors.New("metadata.name is missing")
	case len(p.Spec.Containers) == 0:
		return errors.New("spec.containers is empty")
	}
	for i, c := range p.Spec.Containers {
		if c.Name == "" {
			return fmt.Errorf("spec.containers[%d].name is missing", i)
		}
		if c.Image == "" {
			return fmt.Errorf("spec.containers[%d].image is missing", i)
		}
	}
	return nil
}

// yamlError shortens what the YAML package says to "line N: ...", or to the
// field that has the wrong type.
func yamlError(err error) error {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "yaml: ", "unmarshal errors:\n  ", "json: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	text = strings.ReplaceAll(text, "\n ", ";")
	return errors.New("not valid: " + text)
}
