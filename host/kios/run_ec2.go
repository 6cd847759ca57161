package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"kios/host/imds"
	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/internal/consoleline"
	"kios/internal/userfile"
)

// maxUserData is EC2's bound.
const maxUserData = 16 << 10

// checkUserData finds what EC2 would refuse.
func checkUserData(file string) error {
	if file == "" {
		return nil
	}
	data, err := userfile.Read(file, userfile.Max)
	if err != nil {
		return fmt.Errorf("--user-data: %w", err)
	}
	switch {
	case len(data) == 0:
		return fmt.Errorf("--user-data %s is empty: give a file with user data; docs/cloud/user-data.md says what they may be", file)
	case len(data) > maxUserData:
		return fmt.Errorf("--user-data %s has %d bytes: EC2 takes %d; compress it with gzip, which the node unpacks", file, len(data), maxUserData)
	}
	return nil
}

// startEC2 makes the machine one of EC2 that has the user data, until stop is called.
func (r *runPlan) startEC2(cfg *qemu.Config) (stop func() error, err error) {
	data, err := userfile.Read(r.options.userData, maxUserData)
	if err != nil {
		return nil, fmt.Errorf("--user-data: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	rand.Read(id) // never fails
	m := imds.Machine{
		ID: "i-0" + hex.EncodeToString(id), Type: r.arch.EC2.InstanceType(r.memory), Arch: r.arch.EC2.Machine,
		Region: "us-east-1", Zone: "us-east-1a", MAC: "52:54:00:12:34:56", Address: qemu.EC2Address, UserData: data,
	}
	socket := r.path("imds.sock")
	cfg.MAC = m.MAC
	cfg.EC2 = &qemu.EC2{ID: m.ID, Type: m.Type, Service: []string{self, relayCommand, socket}}
	r.instance = fmt.Sprintf("%s, a %s in %s, with the user data of %s", m.ID, m.Type, m.Zone, r.options.userData)
	return imds.Start(socket, m)
}

const relayCommand = "metadata-relay"

// newRelayCommand is what QEMU starts for each connection to the metadata service. What it
// wrote to standard error would be part of the answer.
func newRelayCommand() *cobra.Command {
	return &cobra.Command{
		Use:    relayCommand + " SOCKET",
		Short:  "Pass a connection on to the metadata service of kios run",
		Long:   "QEMU runs this for each connection of a machine of kios run --user-data.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		Run: func(_ *cobra.Command, args []string) {
			if imds.Relay(args[0], os.Stdin, os.Stdout) != nil {
				os.Exit(1)
			}
		},
	}
}

// metadataLog is what the pod metadata says, until the kubelet asks an API server who may
// read it. The pod says some of it at the console, too, which shows it with its severity.
type metadataLog struct {
	read int      // bytes
	held []string // lines that the console may yet show, until the next look

	mu   sync.Mutex
	seen map[string]bool // lines at the console
}

// maxSeen bounds what a node that has gone wrong can have us remember.
const maxSeen = 1000

const podMetadata = consoleline.PodPrefix + "metadata: "

// see takes in a line of the console.
func (l *metadataLog) see(text string) {
	line, found := strings.CutPrefix(text, podMetadata)
	if !found {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil || len(l.seen) >= maxSeen {
		l.seen = map[string]bool{}
	}
	l.seen[line] = true
}

// ask asks for what the pod has said since the last time.
func (l *metadataLog) ask(ctx context.Context, api *kubeletapi.Client, pods []kubeletapi.Pod) {
	pod, found := kubeletapi.Find(pods, "kube-system", "metadata")
	if !found {
		return
	}
	text, err := api.Logs(ctx, pod.Namespace, pod.Name, "metadata")
	if err == nil { // it is started, and still to be read
		l.held = append(l.held, l.lines(string(text))...)
	}
}

// news returns what ask has found and the console has not shown.
func (l *metadataLog) news() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.DeleteFunc(l.held, func(line string) bool {
		return l.seen[consoleline.Clean(line, consoleline.MaxPodText)]
	})
	l.held = nil
	return list
}

// lines returns the whole lines of a log that were not there before. A container that was
// started again has a new log.
func (l *metadataLog) lines(text string) []string {
	if len(text) < l.read {
		l.read = 0
	}
	end := strings.LastIndexByte(text, '\n') + 1
	if end <= l.read {
		return nil
	}
	fresh := strings.TrimSuffix(text[l.read:end], "\n")
	l.read = end
	return strings.Split(fresh, "\n")
}
