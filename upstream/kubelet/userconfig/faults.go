package userconfig

import (
	"crypto/tls"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/eviction"
)

// laterFaults returns what the kubelet's validation lets pass, and what it, or
// the API server when it registers the node, stumbles over later: the kubelet
// would end, or the node never appear.
func laterFaults(kc *config.KubeletConfiguration) []error {
	errs := append(fileFaults(kc), taintFaults(kc)...)
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
	_, err := eviction.ParseThresholdConfig(kc.EnforceNodeAllocatable, kc.EvictionHard, kc.EvictionSoft, kc.EvictionSoftGracePeriod, kc.EvictionMinimumReclaim)
	if err != nil {
		errs = append(errs, fmt.Errorf("eviction: %w", err))
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

// fileFaults loads the files that the configuration names.
func fileFaults(kc *config.KubeletConfiguration) []error {
	var errs []error
	if file := kc.Authentication.X509.ClientCAFile; file != "" {
		if _, err := cert.NewPool(file); err != nil {
			errs = append(errs, fmt.Errorf("authentication.x509.clientCAFile: %w", err))
		}
	}
	if kc.TLSCertFile != "" || kc.TLSPrivateKeyFile != "" {
		if _, err := tls.LoadX509KeyPair(kc.TLSCertFile, kc.TLSPrivateKeyFile); err != nil {
			errs = append(errs, fmt.Errorf("tlsCertFile and tlsPrivateKeyFile: %w", err))
		}
	}
	return errs
}

// taintFaults asks the API server's own rules about the taints.
func taintFaults(kc *config.KubeletConfiguration) []error {
	node := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	for _, t := range kc.RegisterWithTaints {
		node.Spec.Taints = append(node.Spec.Taints, core.Taint{Key: t.Key, Value: t.Value, Effect: core.TaintEffect(t.Effect)})
	}
	var errs []error
	for _, err := range corevalidation.ValidateNode(node) {
		err.Field = strings.Replace(err.Field, "metadata.taints", "registerWithTaints", 1)
		errs = append(errs, err)
	}
	return errs
}
