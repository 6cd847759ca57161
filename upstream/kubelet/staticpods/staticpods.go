// Package staticpods says which manifests of static pods run no pod, and why. The kubelet
// leaves such a file out, and says so in its own log only, in the midst of many lines; where
// two files have a pod of one name, it runs one of them without a word. This package reads
// files as the kubelet does (pkg/kubelet/config), once, and changes nothing.
package staticpods

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // the kinds that manifests can have
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"kios/upstream/kubelet/userconfig"
)

// Bounds: that of the kubelet for a file, and of what is looked at and said.
const (
	maxFile  = 10 << 20
	maxFiles = 500
	maxSaid  = 20
	maxLine  = 500
)

// Check looks at all files of a directory as the kubelet does, in its order.
func Check(dir string, say func(format string, args ...any)) {
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		return // the pattern is good
	}
	c := checker{names: map[string]string{}, uids: map[types.UID]string{}}
	said := 0
	for _, path := range names[:min(len(names), maxFiles)] {
		err := c.file(path)
		if err == nil {
			continue
		}
		if said++; said > maxSaid {
			say("more files in %s run no pod: see kubelet.log", dir)
			return
		}
		say("%s", line(fmt.Sprintf("%s: %v", path, err)))
	}
}

// line keeps a message on one line.
func line(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "..."
	}
	return text
}

// checker knows the pods of the files before.
type checker struct {
	names map[string]string
	uids  map[types.UID]string
}

func (c *checker) file(path string) (err error) {
	defer func() { // as for all code that is not made for what others may have written
		if p := recover(); p != nil {
			err = fmt.Errorf("runs no pod: it cannot be read: %v", p)
		}
	}()
	text, err := read(path)
	if err != nil {
		return fmt.Errorf("runs no pod: %w", err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil // it removes a system pod
	}
	pod, err := decode(text)
	if err != nil {
		return fmt.Errorf("runs no pod: %w: correct the file, or remove it", err)
	}
	if userconfig.HasMore(text) {
		return errors.New("only the first YAML document counts: put each pod into a file of its own")
	}
	return c.unique(path, pod)
}

// unique reports a pod that takes the place of an earlier one.
func (c *checker) unique(path string, pod *api.Pod) error {
	name := pod.Namespace + "/" + pod.Name
	other, same := c.names[name]
	c.names[name] = path
	if same {
		return fmt.Errorf("its pod has the name of the one in %s, %s, and takes its place: give it another name", other, name)
	}
	if pod.UID == "" {
		return nil
	}
	other, same = c.uids[pod.UID]
	c.uids[pod.UID] = path
	if same {
		return fmt.Errorf("its pod has the UID of the one in %s, and only one of them runs: remove metadata.uid", other)
	}
	return nil
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file: put a file here")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// decode is the kubelet's tryDecodeSinglePod.
func decode(text []byte) (*api.Pod, error) {
	json, err := utilyaml.ToJSON(text)
	if err != nil {
		return nil, err
	}
	obj, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), json)
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*api.Pod)
	if !ok {
		return nil, fmt.Errorf("it holds a %T, and the kubelet itself runs kind: Pod only", obj)
	}
	if pod.Name == "" {
		return nil, errors.New("metadata.name is missing")
	}
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	options := podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)
	if errs := validation.ValidatePodCreate(pod, options); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if _, resource, err := podutil.HasAPIObjectReference(pod); err != nil || resource != "" {
		return nil, fmt.Errorf("static pods may not reference %s", resource)
	}
	return pod, nil
}
