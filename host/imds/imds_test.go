package imds

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

var machine = Machine{
	ID: "i-0e5b1c0d2a3f4b5c6", Type: "t4g.micro", Arch: "arm64", Region: "eu-west-1", Zone: "eu-west-1a",
	MAC: "52:54:00:12:34:56", Address: "172.31.0.15", UserData: []byte("#cloud-config\n"),
}

func ask(t *testing.T, client *http.Client, method, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	lab.Must(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(r)
	lab.Must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	lab.Must(t, err)
	return answer.StatusCode, string(body)
}

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
)

func TestHandler(t *testing.T) {
	s := httptest.NewServer(Handler(machine))
	defer s.Close()
	if code, _ := ask(t, s.Client(), "PUT", s.URL+"/latest/api/token"); code != http.StatusBadRequest {
		t.Errorf("a token without its duration: %d", code)
	}
	if code, _ := ask(t, s.Client(), "GET", s.URL+"/latest/user-data"); code != http.StatusUnauthorized {
		t.Errorf("user data without a token: %d", code)
	}
	_, token := ask(t, s.Client(), "PUT", s.URL+"/latest/api/token", ttlHeader, "60")
	for path, want := range map[string]string{
		"user-data":                           "#cloud-config\n",
		"meta-data/instance-id":               machine.ID,
		"meta-data/local-hostname":            "ip-172-31-0-15.eu-west-1.compute.internal",
		"meta-data/placement/":                "availability-zone\navailability-zone-id\nregion",
		"meta-data/placement":                 "availability-zone\navailability-zone-id\nregion",
		"meta-data/iam/security-credentials/": role,
		"meta-data/network/interfaces/macs/":  machine.MAC + "/",
		"dynamic/instance-identity/document":  machine.document(),
		"meta-data/network/interfaces/macs/52:54:00:12:34:56/device-number": "0",
	} {
		if code, got := ask(t, s.Client(), "GET", s.URL+"/latest/"+path, tokenHeader, token); code != http.StatusOK || got != want {
			t.Errorf("%s = %d %q, want %q", path, code, got, want)
		}
	}
	if code, _ := ask(t, s.Client(), "GET", s.URL+"/latest/meta-data/spot/instance-action", tokenHeader, token); code != http.StatusNotFound {
		t.Errorf("spot/instance-action: %d", code)
	}
	var document struct{ Architecture, InstanceType string }
	lab.Must(t, json.Unmarshal([]byte(machine.document()), &document))
	if document.Architecture != "arm64" || document.InstanceType != "t4g.micro" {
		t.Errorf("the identity document says %+v", document)
	}
	checkCredentials(t, s, token)
}

func checkCredentials(t *testing.T, s *httptest.Server, token string) {
	t.Helper()
	_, text := ask(t, s.Client(), "GET", s.URL+"/latest/meta-data/iam/security-credentials/"+role, tokenHeader, token)
	var c struct {
		Code, AccessKeyID, SecretAccessKey, Token string
		Expiration                                time.Time
	}
	lab.Must(t, json.Unmarshal([]byte(text), &c))
	if c.Code != "Success" || c.AccessKeyID == "" || c.SecretAccessKey == "" || c.Token == "" || time.Until(c.Expiration) < time.Hour {
		t.Errorf("credentials: %s", text)
	}
}

func TestNoUserData(t *testing.T) {
	m := machine
	m.UserData = nil
	s := httptest.NewServer(Handler(m))
	defer s.Close()
	_, token := ask(t, s.Client(), "PUT", s.URL+"/latest/api/token", ttlHeader, "60")
	if code, _ := ask(t, s.Client(), "GET", s.URL+"/latest/user-data", tokenHeader, token); code != http.StatusNotFound {
		t.Errorf("no user data: %d", code)
	}
}

// TestRelay has both ends of the relay be what they are in a run: one connection, and the
// service's socket.
func TestRelay(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "imds.sock")
	stop, err := Start(socket, machine)
	lab.Must(t, err)
	defer stop()
	qemu, program := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer program.Close()
		ended <- Relay(socket, program, program)
	}()
	_, err = io.WriteString(qemu, "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n"+ttlHeader+": 60\r\n\r\n")
	lab.Must(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(qemu), nil)
	lab.Must(t, err)
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || len(body) == 0 {
		t.Errorf("%s %q, %v", answer.Status, body, err)
	}
	qemu.Close()
	lab.Must(t, <-ended)
}

func TestRelayWithoutService(t *testing.T) {
	if err := Relay(filepath.Join(t.TempDir(), "none"), strings.NewReader(""), io.Discard); err == nil {
		t.Error("Relay = nil without a service")
	}
}
