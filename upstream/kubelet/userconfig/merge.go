package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubeletscheme "k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	conversion "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// checker knows the configuration so far, as the kubelet will merge it.
type checker struct {
	codecs *serializer.CodecFactory
	sys    System
	merged []byte                       // JSON
	own    *config.KubeletConfiguration // what the node has without the user's files
	known  map[string]bool              // faults that it has without them
	said   map[string]string            // the user's fields, and the file with the last word on each
	last   map[string]any               // what is read after the user's files
	work   int                          // bytes of JSON that were looked at
}

// newChecker starts from the kubelet's configuration file and the drop-ins
// that are there already.
func newChecker(configFile, dropins string, sys System) (*checker, error) {
	_, codecs, err := kubeletscheme.NewSchemeAndCodecs()
	if err != nil {
		return nil, err
	}
	c := &checker{codecs: codecs, sys: sys, merged: []byte(`{}`), known: map[string]bool{}, said: map[string]string{}, last: map[string]any{}}
	if err := c.mergeAll(configFile, dropins); err != nil {
		return nil, err
	}
	if c.own, err = c.parse(c.merged); err != nil {
		return nil, err
	}
	for _, err := range faults(c.own) {
		c.known[err.Error()] = true
	}
	return c, nil
}

// mergeAll merges the configuration file and the drop-ins.
func (c *checker) mergeAll(configFile, dropins string) error {
	files, err := filepath.Glob(filepath.Join(dropins, "*.conf"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	if configFile != "" {
		if err := c.mergeOwn(configFile); err != nil {
			return fmt.Errorf("read %s: %w", configFile, err)
		}
		if err := c.fillIn(); err != nil {
			return fmt.Errorf("fill in %s: %w", configFile, err)
		}
	}
	for _, f := range files {
		if err := c.mergeOwn(f); err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
	}
	return nil
}

// fillIn gives all fields that have none the kubelet's defaults, as the kubelet does before
// it reads drop-ins: so no default follows a drop-in, and those that should are withdrawn in
// validate.
func (c *checker) fillIn() error {
	kc, err := c.parse(c.merged)
	if err != nil {
		return err
	}
	var filled kubeletv1beta1.KubeletConfiguration
	if err := conversion.Convert_config_KubeletConfiguration_To_v1beta1_KubeletConfiguration(kc, &filled, nil); err != nil {
		return err
	}
	filled.APIVersion, filled.Kind = kubeletv1beta1.SchemeGroupVersion.String(), "KubeletConfiguration"
	c.merged, err = json.Marshal(filled)
	return err
}

func (c *checker) mergeOwn(file string) error {
	raw, err := readFile(file)
	if err != nil {
		return err
	}
	data, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return err
	}
	if err := checkKind(data, kubeletv1beta1.SchemeGroupVersion.WithKind("KubeletConfiguration")); err != nil {
		return err
	}
	c.merged, err = jsonpatch.MergePatch(c.merged, data)
	return err
}

// choose reads the files and returns what is good of them. What the kubelet checks is all of
// them together, so two that are good only together are good.
func (c *checker) choose(files []string, log io.Writer) (docs []*document, err error) {
	size := 0
	for _, file := range files {
		d, err := c.read(file)
		if err == nil && size+d.size > maxAll {
			err = fmt.Errorf("with it, the files have more than %d bytes together", maxAll)
		}
		if err != nil {
			fmt.Fprintf(log, "kios: ignoring %s: %s: using defaults\n", file, oneLine(plainError(err)))
		} else {
			docs, size = append(docs, d), size+d.size
		}
	}
	if c.take(docs...) != nil {
		err = c.mend(docs)
	}
	for _, d := range docs {
		for _, note := range d.notes {
			fmt.Fprintf(log, "kios: %s: %s\n", d.file, note)
		}
	}
	return docs, err
}

// attempt is the configuration with further documents.
type attempt struct {
	merged []byte
	said   map[string]string
	yields map[string]any
	errs   []error
}

// try merges documents into the configuration so far.
func (c *checker) try(docs ...*document) (a attempt) {
	defer func() { // as in read
		if p := recover(); p != nil {
			a.errs = append(a.errs, fmt.Errorf("the kubelet cannot take it: %v", p))
		}
	}()
	a.said = maps.Clone(c.said)
	patch := []byte("{}") // of all documents: it is much smaller than the configuration
	for _, d := range docs {
		data, err := d.data()
		if err == nil {
			patch, err = jsonpatch.MergeMergePatches(patch, data)
		}
		if err != nil {
			a.errs = []error{err}
			return a
		}
		c.work += len(patch)
		for name := range d.fields {
			a.said[name] = d.file
		}
	}
	var err error
	if a.merged, err = jsonpatch.MergePatch(c.merged, patch); err != nil {
		a.errs = []error{err}
		return a
	}
	a.yields, a.errs = c.validate(a.merged, a.said)
	return a
}

// take adds documents to the configuration, if it is good with them.
func (c *checker) take(docs ...*document) error {
	a := c.try(docs...)
	if len(a.errs) == 0 {
		c.merged, c.said, c.last = a.merged, a.said, a.yields
	}
	return errors.Join(a.errs...)
}

// yielding are groups of the node's own defaults, and of the kubelet's that it has filled in
// before it reads a user's file, that it may refuse beside a user's field, or beside a
// feature gate. Then they are the kubelet's defaults again: a file that is good for a
// kubelet elsewhere is good here.
var yielding = [][]string{
	{"shutdownGracePeriodCriticalPods"},
	{"shutdownGracePeriod"},
	{"shutdownGracePeriod", "shutdownGracePeriodCriticalPods"},
	{"enableSystemLogQuery"},
	{"crashLoopBackOff"},
	{"imagePullCredentialsVerificationPolicy"},
	{"maxParallelImagePulls"},
	{"imageGCHighThresholdPercent"},
	{"imageGCLowThresholdPercent"},
	{"imageGCHighThresholdPercent", "imageGCLowThresholdPercent"},
}

// maxFaults is more than the node's own defaults make together: where there are more, the
// file is what is bad, and it takes long to look at.
const maxFaults = 20

// validate applies the kubelet's own rules to a merged configuration. What is
// wrong without the user's files as well is not their fault. It returns the defaults
// of the node that have to go, each with the value nil.
func (c *checker) validate(merged []byte, said map[string]string) (yields map[string]any, errs []error) {
	yields = map[string]any{}
	if said["nodeStatusUpdateFrequency"] != "" && said["nodeStatusReportFrequency"] == "" {
		yields["nodeStatusReportFrequency"] = nil // the kubelet's default is the other one
	}
	errs = c.newFaults(merged, yields)
	if !c.mayYield(merged, yields, said, errs) {
		return yields, errs
	}
	for _, group := range yielding {
		if len(errs) == 0 || slices.ContainsFunc(group, func(name string) bool { return said[name] != "" }) {
			continue
		}
		more := maps.Clone(yields)
		for _, name := range group {
			more[name] = nil
		}
		if left := c.newFaults(merged, more); len(left) < len(errs) {
			yields, errs = more, left
		}
	}
	return yields, errs
}

// mayYield reports whether any of the faults is not there without all of the defaults.
func (c *checker) mayYield(merged []byte, yields map[string]any, said map[string]string, errs []error) bool {
	if len(errs) == 0 || len(errs) > maxFaults {
		return false
	}
	all := maps.Clone(yields)
	for _, name := range slices.Concat(yielding...) {
		if said[name] == "" {
			all[name] = nil
		}
	}
	return len(without(errs, c.newFaults(merged, all))) > 0
}

// without returns the errors that are not among others.
func without(errs, others []error) []error {
	return slices.DeleteFunc(slices.Clone(errs), func(err error) bool {
		return slices.ContainsFunc(others, func(o error) bool { return o.Error() == err.Error() })
	})
}

// newFaults returns the faults that the user's files make.
func (c *checker) newFaults(merged []byte, patch map[string]any) []error {
	c.work += len(merged)
	kc, err := c.patched(merged, patch)
	if err != nil {
		return []error{err}
	}
	return slices.DeleteFunc(faults(kc), func(err error) bool { return c.known[err.Error()] })
}

// final returns the configuration that the kubelet will have.
func (c *checker) final() (*config.KubeletConfiguration, error) { return c.patched(c.merged, c.last) }

func (c *checker) patched(merged []byte, patch map[string]any) (*config.KubeletConfiguration, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	if merged, err = jsonpatch.MergePatch(merged, data); err != nil {
		return nil, err
	}
	return c.parse(merged)
}

// parse returns the internal, defaulted form of a configuration in JSON.
func (c *checker) parse(data []byte) (*config.KubeletConfiguration, error) {
	obj, _, err := c.codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, plainError(err)
	}
	kc, ok := obj.(*config.KubeletConfiguration)
	if !ok {
		return nil, fmt.Errorf("unexpected type %T", obj)
	}
	return kc, nil
}
