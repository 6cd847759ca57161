package awslab

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// IMDS is the metadata service of one machine, in its second version
// (ec2/latest/instancetypes of Amazon's user guide, "Instance metadata"). It may be
// changed while it serves.
type IMDS struct {
	mu       sync.Mutex
	values   map[string]string
	troubles []*Trouble
	tokens   map[string]time.Time // until when they are good
	requests []string
}

// Trouble is what goes wrong.
type Trouble struct {
	Path   string        // what the path begins with, such as "/latest/meta-data/iam"; "" for all
	Status int           // that is answered, or 0 for the value in the end
	Delay  time.Duration // before the answer
	Count  int           // how many requests it befalls, or 0 for all
}

// Set sets a value below /latest/, such as "meta-data/instance-id".
func (s *IMDS) Set(path, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[path] = value
}

// Remove removes a value, or all in a directory.
func (s *IMDS) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.values {
		if name == path || strings.HasPrefix(name, path+"/") {
			delete(s.values, name)
		}
	}
}

// SetUserData sets the user data, which are bytes.
func (s *IMDS) SetUserData(data []byte) { s.Set("user-data", string(data)) }

// SetRole gives the machine a role, whose credentials end at a time.
func (s *IMDS) SetRole(name string, key Key, end time.Time) {
	text, _ := json.Marshal(map[string]any{ // strings only
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": time.Now().UTC().Format(time.RFC3339),
		"AccessKeyId": key.ID, "SecretAccessKey": key.Secret, "Token": key.Session, "Expiration": end.UTC().Format(time.RFC3339),
	})
	s.Remove("meta-data/iam/security-credentials")
	s.Set("meta-data/iam/security-credentials/"+name, string(text))
}

// AddInterface adds a network interface by its MAC address. The first one is that of the
// machine; the VPC CNI attaches others later.
func (s *IMDS) AddInterface(mac string, values map[string]string) {
	base := "meta-data/network/interfaces/macs/" + mac + "/"
	s.Set(base+"mac", mac)
	for name, value := range values {
		s.Set(base+name, value)
	}
}

// Interrupt is EC2's notice that it takes a spot instance back; the action is terminate,
// stop or hibernate.
func (s *IMDS) Interrupt(action string, at time.Time) {
	s.Set("meta-data/spot/instance-action", fmt.Sprintf(`{"action": %q, "time": %q}`, action, at.UTC().Format(time.RFC3339)))
}

// Fail adds trouble, before that which is there.
func (s *IMDS) Fail(t Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = append([]*Trouble{&t}, s.troubles...)
}

// Recover ends all trouble.
func (s *IMDS) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = nil
}

// ExpireTokens makes all tokens that were given out stale.
func (s *IMDS) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Requests returns the method and path of all requests so far.
func (s *IMDS) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Asked returns how often a path was asked for.
func (s *IMDS) Asked(path string) int {
	n := 0
	for _, r := range s.Requests() {
		if r == "GET "+path {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	trouble := s.note(r)
	select {
	case <-time.After(trouble.Delay):
	case <-r.Context().Done():
		return
	}
	switch {
	case trouble.Status != 0:
		http.Error(w, http.StatusText(trouble.Status), trouble.Status)
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "this service is not for proxies", http.StatusForbidden)
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		s.giveToken(w, r)
	case r.Method != http.MethodGet:
		http.Error(w, "", http.StatusMethodNotAllowed)
	case !s.knows(r.Header.Get("X-Aws-Ec2-Metadata-Token")):
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	default:
		s.answer(w, r)
	}
}

// note remembers a request, and returns the trouble that befalls it.
func (s *IMDS) note(r *http.Request) Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	for i, t := range s.troubles {
		if !strings.HasPrefix(r.URL.Path, t.Path) {
			continue
		}
		if t.Count--; t.Count == 0 {
			s.troubles = slices.Delete(s.troubles, i, i+1)
		}
		return *t
	}
	return Trouble{}
}

func (s *IMDS) giveToken(w http.ResponseWriter, r *http.Request) {
	const ttlHeader = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || seconds < 1 || seconds > 21600 {
		http.Error(w, "how long?", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	s.mu.Lock()
	s.tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
	s.mu.Unlock()
	w.Header().Set(ttlHeader, strconv.Itoa(seconds))
	fmt.Fprint(w, token)
}

func (s *IMDS) knows(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.tokens[token])
}

func (s *IMDS) answer(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	s.mu.Lock()
	value, found := s.values[path]
	children := s.list(strings.TrimSuffix(path, "/") + "/")
	s.mu.Unlock()
	switch {
	case found:
		fmt.Fprint(w, value)
	case len(children) > 0:
		fmt.Fprint(w, strings.Join(children, "\n"))
	default:
		http.Error(w, "", http.StatusNotFound)
	}
}

// list returns what is in a directory, as the service lists it.
func (s *IMDS) list(dir string) (names []string) {
	for path := range s.values {
		name, below := strings.CutPrefix(path, dir)
		if first, _, deeper := strings.Cut(name, "/"); deeper {
			name = first + "/"
		}
		if below && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
