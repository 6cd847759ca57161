// Package imds is a metadata service like that of EC2, for a virtual machine: IMDSv2 with
// what a node asks for. The credentials in it are made up. It is as much of
// docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html as shows a
// boot with user data; a machine in it has one network card.
//
// The machine's user-mode network starts a program for each connection, which passes it
// on to the Unix socket of the service (see Relay).
package imds

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Machine is what the service says of a machine.
type Machine struct {
	ID       string // such as i-0123456789abcdef0
	Type     string
	Arch     string // as EC2 calls the architecture; see package arch
	Region   string
	Zone     string
	MAC      string
	Address  string // IPv4
	UserData []byte
}

const (
	account    = "123456789012"
	role       = "kios-run"
	rolePath   = "meta-data/iam/security-credentials/" + role
	maxTTL     = 21600 // seconds, EC2's bound for tokens
	maxHeaders = 16 << 10
	maxTime    = 10 * time.Second
	lifetime   = 6 * time.Hour // of the credentials
)

// Hostname is the private DNS name that EC2 gives a machine with an address.
func (m Machine) Hostname() string {
	domain := m.Region + ".compute.internal"
	if m.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(m.Address, ".", "-") + "." + domain
}

// values are the files below /latest.
func (m Machine) values() map[string]string {
	files := map[string]string{
		"user-data":                          string(m.UserData),
		"dynamic/instance-identity/document": m.document(),
		"meta-data/iam/info":                 fmt.Sprintf(`{"Code":"Success","InstanceProfileArn":"arn:aws:iam::%s:instance-profile/%s"}`, account, role),
		rolePath:                             "", // see credentials
	}
	for name, value := range map[string]string{
		"ami-id": "ami-0123456789abcdef0", "instance-id": m.ID, "instance-type": m.Type, "instance-life-cycle": "on-demand",
		"hostname": m.Hostname(), "local-hostname": m.Hostname(), "local-ipv4": m.Address, "mac": m.MAC,
		"placement/region": m.Region, "placement/availability-zone": m.Zone, "placement/availability-zone-id": "use1-az1",
		"services/domain": "amazonaws.com", "services/partition": "aws",
	} {
		files["meta-data/"+name] = value
	}
	for name, value := range map[string]string{
		"device-number": "0", "network-card": "0", "interface-id": "eni-0123456789abcdef0", "mac": m.MAC, "owner-id": account,
		"local-hostname": m.Hostname(), "local-ipv4s": m.Address, "vpc-id": "vpc-0123456789abcdef0", "subnet-id": "subnet-0123456789abcdef0",
		"vpc-ipv4-cidr-block": "172.31.0.0/16", "vpc-ipv4-cidr-blocks": "172.31.0.0/16", "subnet-ipv4-cidr-block": "172.31.0.0/20",
	} {
		files["meta-data/network/interfaces/macs/"+m.MAC+"/"+name] = value
	}
	if len(m.UserData) == 0 {
		delete(files, "user-data")
	}
	return files
}

func (m Machine) document() string {
	text, _ := json.Marshal(map[string]string{ // a map of strings has JSON
		"accountId": account, "architecture": m.Arch, "availabilityZone": m.Zone, "imageId": "ami-0123456789abcdef0",
		"instanceId": m.ID, "instanceType": m.Type, "privateIp": m.Address, "region": m.Region, "version": "2017-09-30",
	})
	return string(text)
}

// credentials are of nobody. They change with each question, as if they were renewed.
func credentials() string {
	now := time.Now().UTC()
	text, _ := json.Marshal(map[string]string{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": now.Format(time.RFC3339), "Expiration": now.Add(lifetime).Format(time.RFC3339),
		"AccessKeyId": "ASIAMADEUPMADEUPMADE", "SecretAccessKey": rand.Text(), "Token": rand.Text(),
	})
	return string(text)
}

// list returns what is in a directory, or nothing.
func list(files map[string]string, dir string) (names []string) {
	for path := range files {
		rest, inside := strings.CutPrefix(path, dir)
		if !inside || rest == "" {
			continue
		}
		name, _, isDir := strings.Cut(rest, "/")
		if isDir {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Handler answers as the service does.
func Handler(m Machine) http.Handler {
	files, token := m.values(), rand.Text()
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		if err != nil || ttl < 1 || ttl > maxTTL {
			http.Error(w, "the header X-aws-ec2-metadata-token-ttl-seconds is missing or wrong", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
		io.WriteString(w, token)
	})
	mux.HandleFunc("GET /latest/{path...}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != token {
			http.Error(w, "a token is needed: this is IMDSv2", http.StatusUnauthorized)
			return
		}
		answer(w, files, r.PathValue("path"))
	})
	return mux
}

func answer(w http.ResponseWriter, files map[string]string, path string) {
	value, found := files[path]
	names := list(files, strings.TrimSuffix(path, "/")+"/")
	switch {
	case path == rolePath:
		value = credentials()
	case found:
	case len(names) > 0:
		value = strings.Join(names, "\n")
	default:
		http.Error(w, "there is no "+path, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, value)
}

// Start serves a machine's metadata on a new Unix socket until the returned function is
// called.
func Start(socket string, m Machine) (stop func() error, err error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serve metadata: %w", err)
	}
	server := &http.Server{Handler: Handler(m), MaxHeaderBytes: maxHeaders, ReadTimeout: maxTime, WriteTimeout: maxTime, IdleTimeout: time.Minute}
	go server.Serve(l) // ends with Close
	return server.Close, nil
}

// Relay passes one connection, which is the program's standard input and output, on to the
// service at socket. It ends when the service closes the connection, or the machine does.
func Relay(socket string, in io.Reader, out io.Writer) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, in)
		conn.(*net.UnixConn).CloseWrite()
	}()
	if _, err := io.Copy(out, conn); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
