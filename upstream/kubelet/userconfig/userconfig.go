// Package userconfig checks the KubeletConfiguration files that a user put on
// the node, config.yaml and config.d/*.{yaml,conf}, and copies the good ones
// into the kubelet's drop-in directory. A file is good when the kubelet's own
// strict decoder accepts it and the kubelet's own validation accepts what it
// makes of the node's configuration. A bad one is named on standard error,
// with the field, and left out: the node comes up with its defaults.
//
// It follows https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/.
package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubeletscheme "k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"sigs.k8s.io/yaml"

	"kios/internal/wholefile"
	"kios/upstream/kubelet/args"
)

// prefix is what the names of our drop-ins start with: after init's
// 10-node.conf and 20-cluster.conf, so that the user has the last word.
const prefix = "50-"

// last is read after the user's files: it takes out what this node cannot or must not do.
const last = "90-node.conf"

// Check looks for the user's files below etc (config.yaml and config.d) and
// fills the directory that the command line gives as --config-dir. It costs two
// failed look-ups when there are none, and nothing without --config-dir.
func Check(etc string, list []string, log io.Writer) {
	dropins := args.Value(list, "config-dir")
	if dropins == "" {
		return
	}
	removeOld(dropins)
	files := userFiles(etc)
	if len(files) == 0 {
		return
	}
	c, err := newChecker(args.Value(list, "config"), dropins)
	if err != nil {
		fmt.Fprintf(log, "kios: ignoring %s: %s: using defaults\n", strings.Join(files, ", "), oneLine(err))
		return
	}
	for i, file := range files {
		name := fmt.Sprintf("%s%03d-%s.conf", prefix, i, filepath.Base(file))
		c.copyFile(file, filepath.Join(dropins, name), log)
	}
	if err := c.writeLast(filepath.Join(dropins, last), args.Value(list, "kubeconfig") != "", log); err != nil {
		// It may be what keeps others out: the files are not safe to use without it.
		removeOld(dropins)
		fmt.Fprintf(log, "kios: ignoring %s: write %s: %s: using defaults\n", strings.Join(files, ", "), last, oneLine(err))
	}
}

// copyFile copies one of the user's files, if it is good, and logs it if not.
func (c *checker) copyFile(file, to string, log io.Writer) {
	data, note, err := c.take(file)
	if err == nil {
		err = writeFile(to, data)
	}
	if err != nil {
		fmt.Fprintf(log, "kios: ignoring %s: %s: using defaults\n", file, oneLine(err))
	} else if note != "" {
		fmt.Fprintf(log, "kios: %s: %s\n", file, note)
	}
}

// removeOld deletes what an earlier start of the kubelet left: the user may
// have changed or deleted a file since.
func removeOld(dropins string) {
	old, _ := filepath.Glob(filepath.Join(dropins, prefix+"*.conf"))
	for _, f := range append(old, filepath.Join(dropins, last)) {
		os.Remove(f)
	}
}

// userFiles lists the user's files in the order in which they take effect.
func userFiles(etc string) []string {
	var files []string
	main := filepath.Join(etc, "config.yaml")
	if _, err := os.Stat(main); err == nil || !errors.Is(err, fs.ErrNotExist) {
		files = append(files, main)
	}
	entries, _ := os.ReadDir(filepath.Join(etc, "config.d")) // sorted by name
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".conf" {
			files = append(files, filepath.Join(etc, "config.d", e.Name()))
		}
	}
	return files
}

// checker knows the configuration so far, as the kubelet will merge it.
type checker struct {
	codecs   *serializer.CodecFactory
	merged   []byte          // JSON
	endpoint string          // the container runtime that this node has
	serving  string          // the certificate that init made for the port
	known    map[string]bool // faults that it has without any of the user's files
}

// newChecker starts from the kubelet's configuration file and the drop-ins
// that are there already.
func newChecker(configFile, dropins string) (*checker, error) {
	_, codecs, err := kubeletscheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		return nil, err
	}
	c := &checker{codecs: codecs, merged: []byte(`{}`), known: map[string]bool{}}
	if err := c.mergeAll(configFile, dropins); err != nil {
		return nil, err
	}
	kc, err := parse(c.merged)
	if err != nil {
		return nil, err
	}
	c.endpoint, c.serving = kc.ContainerRuntimeEndpoint, kc.TLSCertFile
	for _, err := range faults(kc) {
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
		files = slices.Insert(files, 0, configFile)
	}
	for _, f := range files {
		data, err := c.decode(f)
		if err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
		if c.merged, err = jsonpatch.MergePatch(c.merged, data); err != nil {
			return fmt.Errorf("merge %s: %w", f, err)
		}
	}
	return nil
}

// take merges one of the user's files into the configuration. It returns the
// file as JSON for the kubelet, and a note when it had to leave something out.
func (c *checker) take(file string) (data []byte, note string, err error) {
	// The kubelet's own code panics on some input that it does not expect.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	if data, err = c.decode(file); err != nil {
		return nil, "", err
	}
	if data, note, err = c.dropEndpoint(data); err != nil {
		return nil, "", err
	}
	merged, err := jsonpatch.MergePatch(c.merged, data)
	if err != nil {
		return nil, "", err
	}
	if err := c.validate(merged); err != nil {
		return nil, "", err
	}
	c.merged = merged
	return data, note, nil
}

// decode reads file the way the kubelet will, strictly, and returns it as JSON.
func (c *checker) decode(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil, errors.New("the file is empty")
	}
	data, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, err
	}
	want := kubeletv1beta1.SchemeGroupVersion.WithKind("KubeletConfiguration")
	if err := checkKind(data, want); err != nil {
		return nil, err
	}
	if err := checkGates(data); err != nil {
		return nil, err
	}
	// The raw bytes, not the JSON: only they still show a field given twice.
	if _, _, err := c.codecs.UniversalDecoder().Decode(raw, nil, nil); err != nil {
		return nil, plain(err)
	}
	return data, nil
}

// checkKind is there for its message: the decoder's own prints the whole file.
func checkKind(data []byte, want schema.GroupVersionKind) error {
	var got struct{ APIVersion, Kind string }
	if err := json.Unmarshal(data, &got); err != nil {
		return errors.New("the file is not a YAML mapping of fields to values")
	}
	if got.APIVersion != want.GroupVersion().String() || got.Kind != want.Kind {
		return fmt.Errorf("apiVersion %q, kind %q: want apiVersion: %s and kind: %s", got.APIVersion, got.Kind, want.GroupVersion(), want.Kind)
	}
	return nil
}

// checkGates is there because the decoder panics on a gate that does not exist.
func checkGates(data []byte) error {
	var got struct{ FeatureGates map[string]bool }
	if err := json.Unmarshal(data, &got); err != nil {
		return fmt.Errorf("featureGates: %w", err)
	}
	if err := utilfeature.DefaultMutableFeatureGate.DeepCopy().SetFromMap(got.FeatureGates); err != nil {
		return fmt.Errorf("featureGates: %w", err)
	}
	return nil
}

// dropEndpoint removes a containerRuntimeEndpoint that this node does not
// have: the first kiOS had another runtime, and files made for it say so.
func (c *checker) dropEndpoint(data []byte) (out []byte, note string, err error) {
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, "", err
	}
	theirs, ok := fields["containerRuntimeEndpoint"].(string)
	if !ok || theirs == c.endpoint {
		return data, "", nil
	}
	delete(fields, "containerRuntimeEndpoint")
	out, err = json.Marshal(fields)
	return out, fmt.Sprintf("ignoring containerRuntimeEndpoint %s: the runtime of this node is %s", theirs, c.endpoint), err
}

// validate applies the kubelet's own rules to a merged configuration. What is
// wrong without the user's files as well is not their fault.
func (c *checker) validate(merged []byte) error {
	kc, err := parse(merged)
	if err != nil {
		return err
	}
	var errs []error
	for _, err := range faults(kc) {
		if !c.known[err.Error()] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// faults returns all that the kubelet would refuse. The feature gates are a
// copy: the kubelet sets the real ones itself.
func faults(kc *config.KubeletConfiguration) []error {
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	if err := gates.SetFromMap(kc.FeatureGates); err != nil {
		return []error{fmt.Errorf("featureGates: %w", err)}
	}
	var errs []error
	for _, err := range logsapi.Validate(&kc.Logging, gates, field.NewPath("logging")) {
		errs = append(errs, err)
	}
	errs = append(errs, laterFaults(kc)...)
	err := validation.ValidateKubeletConfiguration(kc, gates)
	var many utilerrors.Aggregate
	if errors.As(err, &many) {
		return append(errs, many.Errors()...)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// parse returns the internal, defaulted form of a configuration in JSON.
func parse(data []byte) (*config.KubeletConfiguration, error) {
	_, codecs, err := kubeletscheme.NewSchemeAndCodecs()
	if err != nil {
		return nil, err
	}
	obj, _, err := codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, plain(err)
	}
	kc, ok := obj.(*config.KubeletConfiguration)
	if !ok {
		return nil, fmt.Errorf("unexpected type %T", obj)
	}
	return kc, nil
}

// plain removes the part of an error that quotes Go types of the kubelet.
func plain(err error) error {
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return errors.Join(strict.Errors()...)
	}
	return err
}

// oneLine keeps a message on the one line that the log has for it.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// writeFile replaces a file whole, so that a kubelet never reads half of one. All
// that is written here goes with the boot.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Volatile(path, data, 0o600)
}
