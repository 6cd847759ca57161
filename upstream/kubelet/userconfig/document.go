package userconfig

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// document is one of the user's files.
type document struct {
	file   string
	fields map[string]any
	notes  []string // what was left out of it
	size   int      // of the file, in bytes
}

// Bounds of what is said about one file: maxNotes lines, and maxLine bytes of a reason.
const (
	maxNotes = 50
	maxLine  = 1000
)

func (d *document) note(format string, args ...any) {
	switch len(d.notes) {
	case maxNotes:
		d.notes = append(d.notes, "more is ignored, and not listed")
	case maxNotes + 1:
	default:
		d.notes = append(d.notes, fmt.Sprintf(format, args...))
	}
}

// data returns the document as JSON.
func (d *document) data() ([]byte, error) { return json.Marshal(d.fields) }

// read reads a file the way the kubelet reads its --config: a field that it does
// not know, or that is there twice, costs itself and a word. So does a feature
// gate, which the kubelet would end on.
func (c *checker) read(file string) (doc *document, err error) {
	// The kubelet's own code panics on some input that it does not expect.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	if filepath.Base(file) == flagsFile {
		doc, err = flagDocument(file)
	} else {
		doc, err = fileDocument(file)
	}
	if err != nil {
		return nil, err
	}
	doc.dropNulls()
	doc.dropUnknown()
	doc.dropExponents(doc.fields, "")
	doc.dropGates()
	c.dropForeign(doc)
	return doc, c.dropMisfits(doc)
}

// fileDocument reads a KubeletConfiguration.
func fileDocument(file string) (*document, error) {
	raw, err := readFile(file)
	if err != nil {
		return nil, err
	}
	doc := &document{file: file, size: len(raw)}
	return doc, doc.parse(raw)
}

// maxFile and maxAll, in bytes, are more than any configuration has in one file and in all.
const (
	maxFile = 256 << 10
	maxAll  = 2 * maxFile
)

// readFile reads a regular file of a sane size. Anything else could hold the
// kubelet up for ever, or take the node's memory.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return raw, err
}

// parse fills in the fields. A key that is there twice has its last value.
func (d *document) parse(raw []byte) error {
	if len(strings.TrimSpace(string(raw))) == 0 {
		return errors.New("the file is empty")
	}
	if hasMore(raw) {
		d.note("only the first YAML document of the file counts: put each into a file of its own, in config.d")
	}
	data, strict := yaml.YAMLToJSONStrict(raw)
	if strict != nil {
		var err error
		if data, err = yaml.YAMLToJSON(raw); err != nil {
			return err
		}
		d.note("the last value counts: %s", strings.TrimPrefix(oneLine(strict), "yaml: unmarshal errors: "))
	}
	if err := checkKind(data, kubeletv1beta1.SchemeGroupVersion.WithKind("KubeletConfiguration")); err != nil {
		return err
	}
	return json.Unmarshal(data, &d.fields)
}

// mark begins a YAML document.
var mark = regexp.MustCompile(`(?m)^---(?:[ \t\r].*)?$`)

// hasMore reports whether there is content after the first document. What is a comment
// ends none.
func hasMore(raw []byte) bool {
	documents := 0
	for _, part := range mark.Split(string(raw), -1) {
		for line := range strings.Lines(part) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				documents++
				break
			}
		}
	}
	return documents > 1
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

// dropNulls removes fields without a value. In the kubelet's --config they are as
// good as not there. In a drop-in they would delete what the node has set.
func (d *document) dropNulls() { dropNulls(d.fields) }

func dropNulls(fields map[string]any) {
	for name, value := range fields {
		if value == nil {
			delete(fields, name)
		} else if inner, ok := value.(map[string]any); ok {
			dropNulls(inner)
		}
	}
}

// dropUnknown removes fields that the kubelet does not know. It would ignore most of
// them itself. But when it merges drop-ins it takes a field whose name is written in
// other letters, which no check here would have seen.
func (d *document) dropUnknown() {
	unknown := prune(d.fields, reflect.TypeFor[kubeletv1beta1.KubeletConfiguration](), "")
	slices.Sort(unknown)
	for _, field := range unknown {
		d.note("ignoring unknown field %q", field)
	}
}

// prune removes, and returns, what the type has no field for.
func prune(fields map[string]any, t reflect.Type, path string) (unknown []string) {
	known := jsonFields(t)
	for name, value := range fields {
		if inner, ok := known[name]; !ok {
			delete(fields, name)
			unknown = append(unknown, path+name)
		} else {
			unknown = append(unknown, pruneValue(value, inner, path+name)...)
		}
	}
	return unknown
}

func pruneValue(value any, t reflect.Type, path string) (unknown []string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil // it has a form of its own
	}
	switch value := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			return prune(value, t, path+".")
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i, element := range value {
				unknown = append(unknown, pruneValue(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
			}
		}
	}
	return unknown
}

// jsonFields returns the fields of a struct by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if options == "inline" {
			maps.Copy(fields, jsonFields(f.Type))
		} else if name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// exponent is that of a quantity of more digits than any machine has of anything. The
// kubelet writes all of them out when it calculates with it, which does not end.
var exponent = regexp.MustCompile(`^[-+]?[0-9.]+[eE][-+]?[0-9]{3,}$`)

// dropExponents removes quantities with such an exponent.
func (d *document) dropExponents(fields map[string]any, path string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if inner, ok := fields[name].(map[string]any); ok {
			d.dropExponents(inner, path+name+".")
		} else if bad := withExponent(fields[name]); bad != "" {
			delete(fields, name)
			d.note("ignoring %s%s: %.40q is no quantity: its exponent has more than two digits", path, name, bad)
		}
	}
}

// withExponent returns the first such quantity in a value, or "".
func withExponent(value any) (bad string) {
	switch value := value.(type) {
	case string:
		if exponent.MatchString(value) {
			return value
		}
	case []any:
		for _, element := range value {
			bad = cmp.Or(bad, withExponent(element))
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			bad = cmp.Or(bad, withExponent(value[name]))
		}
	}
	return bad
}

// dropGates removes feature gates that the kubelet does not have, or no longer, and
// those that can no longer be switched.
func (d *document) dropGates() {
	gates, ok := d.fields["featureGates"].(map[string]any)
	if !ok {
		return // a value of another kind is a matter of types
	}
	all := utilfeature.DefaultMutableFeatureGate.GetAll()
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		spec, known := all[featuregate.Feature(name)]
		on, isBool := gates[name].(bool)
		var err error
		switch {
		case !known:
			err = errors.New("this kubelet has no such feature gate")
		case !isBool:
			err = fmt.Errorf("it is %v: want true or false", gates[name])
		case spec.LockToDefault && spec.Default != on:
			err = gateFault(name, on)
		}
		if err != nil {
			delete(gates, name)
			d.note("ignoring featureGates.%s: %s", name, oneLine(err))
		}
	}
}

// gateFault says why one gate cannot be switched. Gates that depend on one another are a
// matter of all together.
func gateFault(name string, on bool) error {
	return utilfeature.DefaultMutableFeatureGate.DeepCopy().SetFromMap(map[string]bool{name: on})
}
