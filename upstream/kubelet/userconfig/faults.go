package userconfig

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubelet/eviction"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"
	netutils "k8s.io/utils/net"
)

// faults returns all that the kubelet would refuse on any machine. The feature gates
// are a copy: the kubelet sets the real ones itself.
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
		errs = append(errs, many.Errors()...)
	} else if err != nil {
		errs = append(errs, err)
	}
	return once(errs)
}

// once removes errors that say what an earlier one has said.
func once(errs []error) []error {
	said := map[string]bool{}
	return slices.DeleteFunc(errs, func(err error) bool {
		text := err.Error()
		defer func() { said[text] = true }()
		return said[text]
	})
}

// laterFaults returns what the kubelet's validation lets pass, and what it, or
// the API server when it registers the node, stumbles over later: the kubelet
// would end, or the node never appear.
func laterFaults(kc *config.KubeletConfiguration) []error {
	errs := append(taintFaults(kc), reserveFaults(kc)...)
	errs = append(errs, durationFaults(kc)...)
	errs = append(errs, wordFaults(kc)...)
	for _, check := range []struct {
		name string
		of   func(*config.KubeletConfiguration) error
	}{
		{"eviction", evictionFault}, {"qosReserved", qosFault}, {"allowedUnsafeSysctls", sysctlFault},
		{"containerLogMaxSize", logFault}, {"tlsCipherSuites", cipherFault}, {"tlsMinVersion", tlsFault},
		{"address", addressFault}, {"maxPods", idsFault},
	} {
		if err := check.of(kc); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", check.name, err))
		}
	}
	return errs
}

func evictionFault(kc *config.KubeletConfiguration) error {
	_, err := eviction.ParseThresholdConfig(kc.EnforceNodeAllocatable, kc.EvictionHard, kc.EvictionSoft, kc.EvictionSoftGracePeriod, kc.EvictionMinimumReclaim)
	return err
}

func qosFault(kc *config.KubeletConfiguration) error {
	_, err := cm.ParseQOSReserved(kc.QOSReserved)
	return err
}

func sysctlFault(kc *config.KubeletConfiguration) error {
	_, err := sysctl.NewAllowlist(kc.AllowedUnsafeSysctls)
	return err
}

// logFault repeats what the kubelet does in its NewContainerLogManager, which starts
// goroutines, too.
func logFault(kc *config.KubeletConfiguration) error {
	size, err := resource.ParseQuantity(kc.ContainerLogMaxSize)
	if err != nil {
		return fmt.Errorf("%q: %w", kc.ContainerLogMaxSize, err)
	}
	if _, ok := size.AsInt64(); !ok {
		return fmt.Errorf("%q is no whole number of bytes", kc.ContainerLogMaxSize)
	}
	return nil
}

func cipherFault(kc *config.KubeletConfiguration) error {
	_, err := cliflag.TLSCipherSuites(kc.TLSCipherSuites)
	return err
}

func tlsFault(kc *config.KubeletConfiguration) error {
	_, err := cliflag.TLSVersion(kc.TLSMinVersion)
	return err
}

func addressFault(kc *config.KubeletConfiguration) error {
	if netutils.ParseIPSloppy(kc.Address) == nil {
		return fmt.Errorf("%q is no IP address", kc.Address)
	}
	return nil
}

// idsFault counts the users of pods with a user namespace, as the kubelet does in its
// MakeUserNsManager.
func idsFault(kc *config.KubeletConfiguration) error {
	ids := idsOf(kc)
	if room := (1<<32 - ids) / ids; int64(kc.MaxPods) > room {
		return fmt.Errorf("there are user IDs for %d pods (userNamespaces.idsPerPod is %d), and not for %d", room, ids, kc.MaxPods)
	}
	return nil
}

// wordFaults looks at fields that have one of a few words, of which the kubelet ends on
// any other.
func wordFaults(kc *config.KubeletConfiguration) (errs []error) {
	for _, w := range []struct{ name, got, want string }{
		{"authorization.mode", string(kc.Authorization.Mode), "AlwaysAllow Webhook"},
		{"configMapAndSecretChangeDetectionStrategy", string(kc.ConfigMapAndSecretChangeDetectionStrategy), "Get Cache Watch"},
		{"contentType", kc.ContentType, "application/vnd.kubernetes.protobuf application/json application/cbor"},
		{"cpuManagerPolicy", kc.CPUManagerPolicy, "none static"},
		{"memoryManagerPolicy", kc.MemoryManagerPolicy, "None Static"},
	} {
		if w.got == "" || !strings.Contains(" "+w.want+" ", " "+w.got+" ") {
			errs = append(errs, fmt.Errorf("%s %q: want one of %s", w.name, w.got, w.want))
		}
	}
	return errs
}

// durationFaults looks for negative durations, with which a ticker of the kubelet
// panics. But a negative volumeStatsAggPeriod has a meaning.
func durationFaults(kc *config.KubeletConfiguration) (errs []error) {
	value := reflect.ValueOf(*kc)
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if d, ok := value.Field(i).Interface().(metav1.Duration); ok && d.Duration < 0 && name != "VolumeStatsAggPeriod" {
			errs = append(errs, fmt.Errorf("%s %s is negative", nameInFile(name), d.Duration))
		}
	}
	return errs
}

// nameInFile is how a user writes a field of the kubelet's internal configuration.
func nameInFile(field string) string {
	f, _ := reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]().FieldByName(field)
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return cmp.Or(name, field)
}

func reserveFaults(kc *config.KubeletConfiguration) (errs []error) {
	for _, reserved := range []struct {
		field  string
		values map[string]string
	}{{"kubeReserved", kc.KubeReserved}, {"systemReserved", kc.SystemReserved}} {
		for name, value := range reserved.values {
			if err := checkQuantity(name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", reserved.field, err))
			}
		}
	}
	return errs
}

func checkQuantity(name, value string) error {
	switch name {
	case "cpu", "memory", "ephemeral-storage", "pid":
	default:
		return fmt.Errorf("%q cannot be reserved: cpu, memory, ephemeral-storage and pid can", name)
	}
	q, err := resource.ParseQuantity(value)
	if err != nil {
		return fmt.Errorf("%s %q: %w", name, value, err)
	}
	if q.Sign() < 0 {
		return fmt.Errorf("%s %s is negative", name, value)
	}
	return nil
}

// taintFaults asks the API server's own rules about the taints, a few at a time up to the
// first that are bad: very many of those took minutes.
func taintFaults(kc *config.KubeletConfiguration) []error {
	var taints []core.Taint
	for _, t := range kc.RegisterWithTaints {
		taints = append(taints, core.Taint{Key: t.Key, Value: t.Value, Effect: core.TaintEffect(t.Effect)})
	}
	var errs []error
	for some := range slices.Chunk(taints, 100) {
		if errs = faultsOf(some); len(errs) > 0 {
			return errs
		}
	}
	return faultsOf(taints) // one that is there twice is bad, too
}

func faultsOf(taints []core.Taint) (errs []error) {
	node := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: core.NodeSpec{Taints: taints}}
	for _, err := range corevalidation.ValidateNode(node) {
		err.Field = strings.Replace(err.Field, "metadata.taints", "registerWithTaints", 1)
		errs = append(errs, err)
	}
	return errs
}

// plainError removes the part of an error that quotes Go types of the kubelet.
func plainError(err error) error {
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return errors.Join(strict.Errors()...)
	}
	return err
}
