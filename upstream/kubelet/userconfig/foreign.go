package userconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
)

// foreignField is a field that files of other systems set to what cannot be true on
// a node of kiOS. With such a value no pod would start, or the kubelet would not.
type foreignField struct {
	name string
	// ours returns the values that the field may have.
	ours func(*config.KubeletConfiguration) []string
	why  string // where %s is the first of them
}

var foreignFields = []foreignField{
	{"containerRuntimeEndpoint", func(kc *config.KubeletConfiguration) []string { return []string{kc.ContainerRuntimeEndpoint} },
		"the runtime of this node is %s"},
	{"imageServiceEndpoint", func(kc *config.KubeletConfiguration) []string { return []string{kc.ContainerRuntimeEndpoint, ""} },
		"images come from the runtime of this node, %s"},
	{"staticPodPath", func(kc *config.KubeletConfiguration) []string { return []string{kc.StaticPodPath} },
		"the static pods of this node are in %s, and its network is one of them"},
	{"cgroupDriver", func(kc *config.KubeletConfiguration) []string { return []string{kc.CgroupDriver} },
		"there is no systemd, so it is %s"},
	{"cgroupRoot", only("/", ""), "pods are below %s, in /kubepods"},
	{"cgroupsPerQOS", only("true"), "pods are in /kubepods, where the node has limits for them"},
	// The kubelet would put itself, or all programs of the node, into these, out of the
	// cgroups in which they have memory of their own.
	{"kubeletCgroups", func(kc *config.KubeletConfiguration) []string { return []string{kc.KubeletCgroups} },
		"the kubelet is in %s"},
	{"systemCgroups", only(""), "the programs of the node have cgroups of their own"},
	// Their limits would be those of containerd and PID 1.
	{"kubeReservedCgroup", only(""), whyNoLimits},
	{"systemReservedCgroup", only(""), whyNoLimits},
	{"runOnce", only("false"), "the kubelet has no such mode"},
}

const whyNoLimits = "the cgroups of the node's own programs have their limits from PID 1"

func only(values ...string) func(*config.KubeletConfiguration) []string {
	return func(*config.KubeletConfiguration) []string { return values }
}

// dropForeign removes from a file what cannot be true on this node.
func (c *checker) dropForeign(d *document) {
	for _, f := range foreignFields {
		f.drop(d, c.own)
	}
	dropEnforcement(d)
	dropSysctls(d)
	c.dropPaths(d)
}

func (f foreignField) drop(d *document, own *config.KubeletConfiguration) {
	value, ok := d.fields[f.name]
	if !ok || reflect.ValueOf(value).Kind() == reflect.Map || reflect.ValueOf(value).Kind() == reflect.Slice {
		return // a value of another kind is a matter of types
	}
	delete(d.fields, f.name)
	ours := f.ours(own)
	// A text without content is upstream's default: programs that write all fields have it.
	if value == "" || slices.ContainsFunc(ours, func(v string) bool { return samePlace(v, fmt.Sprint(value)) }) {
		return // what the node has in any case
	}
	why := f.why
	if strings.Contains(why, "%s") {
		why = fmt.Sprintf(why, ours[0])
	}
	d.note("ignoring %s %v: %s", f.name, value, why)
}

// samePlace compares paths and endpoints, which have more than one form.
func samePlace(a, b string) bool { return place(a) == place(b) }

func place(s string) string {
	s = strings.TrimPrefix(s, "unix://")
	if !strings.HasPrefix(s, "/") {
		return s
	}
	s = path.Clean(s)
	if rest, ok := strings.CutPrefix(s, "/var/run/"); ok {
		return "/run/" + rest
	}
	return s
}

// dropEnforcement removes the limits for the node's own programs, which would be set
// on cgroups that are not there.
func dropEnforcement(d *document) {
	list, ok := d.fields["enforceNodeAllocatable"].([]any)
	if !ok {
		return
	}
	kept := []any{}
	for _, value := range list {
		switch value {
		case kubetypes.KubeReservedEnforcementKey, kubetypes.SystemReservedEnforcementKey,
			kubetypes.KubeReservedCompressibleEnforcementKey, kubetypes.SystemReservedCompressibleEnforcementKey:
			d.note("ignoring enforceNodeAllocatable %v: %s", value, whyNoLimits)
		default:
			kept = append(kept, value)
		}
	}
	d.fields["enforceNodeAllocatable"] = kept
}

// dropSysctls removes patterns of kernel parameters that pods cannot have for themselves.
func dropSysctls(d *document) {
	list, ok := d.fields["allowedUnsafeSysctls"].([]any)
	if !ok {
		return
	}
	d.fields["allowedUnsafeSysctls"] = slices.DeleteFunc(list, func(value any) bool {
		_, err := sysctl.NewAllowlist([]string{fmt.Sprint(value)})
		if err != nil {
			d.note("ignoring allowedUnsafeSysctls %v: %s", value, oneLine(err))
		}
		return err != nil
	})
}

// dropPaths removes files and directories that are not there: the node has its own.
func (c *checker) dropPaths(d *document) {
	d.dropPath("resolvConf", "the node's own is used", func(file string) error {
		if file == "" {
			return nil // pods without name servers
		}
		_, err := c.sys.read(file)
		return err
	})
	d.dropPath("podLogsDir", "the node's own is used", c.sys.writable)
	d.dropPath("volumePluginDir", "the node's own is used", c.sys.writable)
	c.dropPair(d)
	if authentication, ok := d.fields["authentication"].(map[string]any); ok {
		if x509, ok := authentication["x509"].(map[string]any); ok {
			inner := &document{fields: x509}
			inner.dropPath("clientCAFile", "the cluster's authority counts until the kubelet starts again", c.sys.isPool)
			for _, note := range inner.notes {
				d.note("%s", strings.Replace(note, "clientCAFile", "authentication.x509.clientCAFile", 1))
			}
		}
	}
}

// dropPath removes a path if it is not as the check wants it.
func (d *document) dropPath(field, instead string, check func(string) error) {
	value, ok := d.fields[field].(string)
	if !ok {
		return
	}
	if err := check(value); err != nil {
		delete(d.fields, field)
		d.note("ignoring %s %s: %s: %s", field, value, plainFile(err), instead)
	}
}

// dropPair removes a certificate that cannot be served. Halves in two files are judged
// when all files are known, in pair.
func (c *checker) dropPair(d *document) {
	certFile, keyFile := d.text("tlsCertFile"), d.text("tlsPrivateKeyFile")
	if certFile == "" || keyFile == "" {
		return
	}
	if err := c.sys.isPair(certFile, keyFile); err != nil {
		delete(d.fields, "tlsCertFile")
		delete(d.fields, "tlsPrivateKeyFile")
		d.note("ignoring tlsCertFile and tlsPrivateKeyFile: %s: the node's own certificate is served", plainFile(err))
	}
}

// text returns a field that is a text, and "" for any other.
func (d *document) text(name string) string {
	value, _ := d.fields[name].(string)
	return value
}

// pair has the node's own certificate served where the user's files together give none
// with its key. Both empty is a pair: the kubelet makes one.
func (o *corrector) pair() error {
	cert, key := o.kc.TLSCertFile, o.kc.TLSPrivateKeyFile
	certOf, keyOf := o.said["tlsCertFile"], o.said["tlsPrivateKeyFile"]
	if certOf == "" && keyOf == "" || cert == "" && key == "" {
		return nil
	}
	err := errors.New("a certificate needs its key, and a key its certificate")
	if certOf != "" && keyOf != "" && cert != "" && key != "" {
		err = o.sys.isPair(cert, key)
	}
	if err == nil {
		return nil
	}
	var ignored []string
	for _, half := range []struct{ name, file, value string }{{"tlsCertFile", certOf, cert}, {"tlsPrivateKeyFile", keyOf, key}} {
		if half.file != "" && half.value != "" {
			ignored = append(ignored, half.name+" of "+half.file)
		}
	}
	if len(ignored) > 0 {
		o.say("ignoring %s: %s: the node's own certificate is served", strings.Join(ignored, " and "), plainFile(err))
	}
	return o.set(map[string]any{"tlsCertFile": o.own.TLSCertFile, "tlsPrivateKeyFile": o.own.TLSPrivateKeyFile})
}

// plainFile shortens the error of a file that the sentence has named already.
func plainFile(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no such file"
	}
	return oneLine(err)
}

// isPool checks a file of certificates.
func (s System) isPool(file string) error {
	if file == "" {
		return nil
	}
	data, err := s.read(file)
	if err != nil || data == nil {
		return err
	}
	_, err = cert.ParseCertsPEM(data)
	return err
}
