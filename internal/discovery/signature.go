package discovery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// signatureKey is where cluster-info has the signature by a token, before the token's id.
const signatureKey = "jws-kubeconfig-"

// verify finds out whether somebody who knows the bootstrap token has signed the
// kubeconfig: a JWS without its payload (RFC 7515, appendix F), by the token's secret.
func (i info) verify(token string) error {
	id, secret, _ := strings.Cut(token, ".")
	signature := i[signatureKey+id]
	if signature == "" {
		return fmt.Errorf("the API server does not know the bootstrap token %s, or it has expired: make one with kubeadm token create on the control plane", id)
	}
	header, mac, found := strings.Cut(signature, "..")
	if !found || !headerIs(header, id) {
		return errors.New("the signature of cluster-info is not one of HS256 by this token")
	}
	got, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || !hmac.Equal(got, sign(header, i[kubeconfigKey], secret)) {
		return errors.New("the signature of cluster-info is not by this token's secret: this is another cluster, or somebody intercepts the connection")
	}
	return nil
}

// headerIs reads the protected header. There is one way to sign, whatever it says.
func headerIs(header, id string) bool {
	text, err := base64.RawURLEncoding.DecodeString(header)
	var h struct {
		Algorithm string   `json:"alg"`
		Key       string   `json:"kid"`
		Critical  []string `json:"crit"` // extensions, none of which is known here
	}
	return err == nil && json.Unmarshal(text, &h) == nil && h.Algorithm == "HS256" && h.Key == id && h.Critical == nil
}

func sign(header, payload, secret string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(header + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))))
	return h.Sum(nil)
}
