package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/host/debimage"
	"kios/host/manifest"
)

// SystemPod is a folder of pods/: NAME/NAME.yaml is the manifest, in the namespace
// kube-system, and NAME/image.yaml, if there is one, what the pod's image holds
// besides our program. Without it the pod runs in the image kios.local/system.
type SystemPod struct {
	Name     string
	manifest []byte
	purpose  string           // of the manifest, for the list of the root's files
	recipe   *debimage.Recipe // or nil
}

// path is where the manifest is in the root.
func (p SystemPod) path() string { return "/etc/kubernetes/manifests/" + p.Name + ".yaml" }

// SystemPods reads the folders of the system pods, in the order of their names.
// Folders without a manifest are packages that pods share, and pods of other
// namespaces are examples for users.
func (b *Builder) SystemPods() ([]SystemPod, error) {
	paths, err := filepath.Glob(filepath.Join(b.Root, "pods/*/*.yaml"))
	if err != nil {
		return nil, err
	}
	var pods []SystemPod
	for _, path := range paths {
		dir := filepath.Dir(path)
		if filepath.Base(path) != filepath.Base(dir)+".yaml" {
			continue
		}
		pod, system, err := readSystemPod(dir)
		if err != nil {
			return nil, err
		}
		if system {
			pods = append(pods, pod)
		}
	}
	return pods, checkTitles(pods)
}

// checkTitles refuses two layers of one title, of which an image would get the wrong
// one.
func checkTitles(pods []SystemPod) error {
	taken := []string{"pause", "system"}
	for _, p := range pods {
		if p.recipe == nil {
			continue
		}
		if slices.Contains(taken, p.recipe.Title) {
			return fmt.Errorf("pods/%s/image.yaml: another layer has the title %s: choose a new one", p.Name, p.recipe.Title)
		}
		taken = append(taken, p.recipe.Title)
	}
	return nil
}

func readSystemPod(dir string) (pod SystemPod, system bool, err error) {
	pod.Name = filepath.Base(dir)
	path := filepath.Join(dir, pod.Name+".yaml")
	if pod.manifest, err = os.ReadFile(path); err != nil {
		return pod, false, err
	}
	var object struct {
		Metadata struct {
			Name, Namespace string
			Annotations     map[string]string
		}
	}
	if err := yaml.Unmarshal(pod.manifest, &object); err != nil {
		return pod, false, fmt.Errorf("parse %s: %w", path, err)
	}
	meta := object.Metadata
	if meta.Namespace != "kube-system" {
		return pod, false, nil
	}
	const description = "kubernetes.io/description"
	switch {
	case meta.Name != pod.Name:
		return pod, false, fmt.Errorf("%s: the pod's name is %q: name it for its folder", path, meta.Name)
	case meta.Annotations[description] == "":
		return pod, false, fmt.Errorf("%s: say what the pod is for in the annotation %s", path, description)
	}
	pod.purpose = "static pod: " + meta.Annotations[description]
	pod.recipe, err = readRecipe(filepath.Join(dir, "image.yaml"))
	return pod, true, err
}

// readRecipe returns nil if there is no such file.
func readRecipe(path string) (*debimage.Recipe, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := debimage.ParseRecipe(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// rootManifest is the manifest as it is in the root: with the version of the
// system's images, and a UID.
func (b *Builder) rootManifest(p SystemPod) ([]byte, error) {
	text, err := manifest.WithUID(bytes.ReplaceAll(p.manifest, []byte(":VERSION\n"), []byte(":"+b.Versions.KiOS+"\n")))
	if err != nil {
		return nil, fmt.Errorf("system pod %s: %w", p.Name, err)
	}
	return text, nil
}

// imageName completes the short name of an image of the OS.
func (b *Builder) imageName(short string) string {
	return "kios.local/" + strings.ReplaceAll(short, "VERSION", b.Versions.KiOS)
}
