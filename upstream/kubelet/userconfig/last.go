package userconfig

import (
	"encoding/json"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
)

// writeLast writes the drop-in that is read after the user's, if there is need
// for one.
func (c *checker) writeLast(path string, joined bool) error {
	kc, err := parse(c.merged)
	if err != nil {
		return err
	}
	fields := c.corrections(kc, joined)
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
func (c *checker) corrections(kc *config.KubeletConfiguration, joined bool) map[string]any {
	fields := map[string]any{}
	if !joined && (kc.Authentication.Webhook.Enabled || kc.Authorization.Mode == config.KubeletAuthorizationModeWebhook) {
		// There is no API server to ask yet, and a kubelet that is to ask one
		// does not start. Who wants it asked would not want the port without.
		fields["authentication"] = map[string]any{"webhook": map[string]any{"enabled": false}}
		fields["authorization"] = map[string]any{"mode": config.KubeletAuthorizationModeAlwaysAllow}
		fields["enableServer"] = false
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
