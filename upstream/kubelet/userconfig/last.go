package userconfig

import (
	"encoding/json"
	"fmt"
	"io"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
)

// writeLast writes the drop-in that is read after the user's, if there is need
// for one.
func (c *checker) writeLast(path string, joined bool, log io.Writer) error {
	kc, err := parse(c.merged)
	if err != nil {
		return err
	}
	fields := c.corrections(kc, joined, log)
	if len(fields) == 0 {
		return nil
	}
	fields["apiVersion"] = kubeletv1beta1.SchemeGroupVersion.String()
	fields["kind"] = "KubeletConfiguration"
	data, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// corrections returns fields that must be otherwise than the files together
// have them. None of it is a user's mistake.
func (c *checker) corrections(kc *config.KubeletConfiguration, joined bool, log io.Writer) map[string]any {
	fields := map[string]any{}
	if !joined && (kc.Authentication.Webhook.Enabled || kc.Authorization.Mode == config.KubeletAuthorizationModeWebhook) {
		// There is no API server to ask yet, and a kubelet that is to ask one
		// does not start. Who wants it asked would not want the port without.
		fields["authentication"] = map[string]any{"webhook": map[string]any{"enabled": false}}
		fields["authorization"] = map[string]any{"mode": config.KubeletAuthorizationModeAlwaysAllow}
		fields["enableServer"] = false
	}
	// A file that was good before the node joined must not let the cluster's other
	// nodes into its pods.
	if joined && kc.Authorization.Mode == config.KubeletAuthorizationModeAlwaysAllow {
		fmt.Fprintln(log, "kios: authorization.mode is Webhook and not AlwaysAllow, now that there is an API server to ask who may use the kubelet's port")
		fields["authorization"] = map[string]any{"mode": config.KubeletAuthorizationModeWebhook}
	}
	switch {
	case !kc.ServerTLSBootstrap:
	case !joined:
		fields["serverTLSBootstrap"] = false // nobody signs
	case kc.TLSCertFile == c.serving:
		// A certificate that is named is served in place of the one that the
		// cluster signs: crypto/tls prefers it when the client sends no server
		// name, and the API server sends none. Without the name, the kubelet
		// still finds init's pair in its --cert-dir, and serves that until the
		// cluster has signed one.
		fields["tlsCertFile"], fields["tlsPrivateKeyFile"] = "", ""
	}
	return fields
}
