package diskimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// CheckEtc finds mistakes in a directory for --etc that the node could only
// log: static pod manifests that the kubelet would not run. It reports all of
// them, one a line.
func CheckEtc(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open the directory for /etc: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: give one that is laid out like /etc", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/kubernetes")); err == nil {
		return fmt.Errorf("%s has a directory etc in it: give that one, %s", dir, filepath.Join(dir, "etc"))
	}
	return checkManifests(filepath.Join(dir, "kubernetes/manifests"))
}

func checkManifests(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // the kubelet skips these
		}
		path := filepath.Join(dir, e.Name())
		if err := checkManifest(path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func checkManifest(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a file; the kubelet does not look into directories here")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return checkPod(data)
}

// separator begins a second YAML document. The kubelet reads only the first.
var separator = regexp.MustCompile(`(?m)^---(\s|$)`)

// pod is as much of the API's Pod as a static one cannot do without.
type pod struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name  string `json:"name"`
			Image string `json:"image"`
		} `json:"containers"`
	} `json:"spec"`
}

func checkPod(data []byte) error {
	var p pod
	json, err := yaml.YAMLToJSONStrict(data)
	if err == nil {
		err = yaml.Unmarshal(json, &p)
	}
	if err != nil {
		return yamlError(err)
	}
	text := strings.TrimSpace(string(data))
	if n := len(separator.FindAllString(strings.TrimPrefix(text, "---"), -1)); n > 0 {
		return fmt.Errorf("has %d YAML documents, but the kubelet reads only the first one: use one file for each pod", n+1)
	}
	return p.check()
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
