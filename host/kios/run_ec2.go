package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/imds"
	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/internal/userfile"
)

// maxUserData is EC2's bound.
const maxUserData = 16 << 10

// instanceTypes are types of two processors by their memory. The node computes from them how
// many pods it takes, and so how much memory it keeps for itself.
var instanceTypes = []struct {
	memory int64
	name   string
}{{8 << 30, "m5.large"}, {4 << 30, "t3.medium"}, {2 << 30, "t3.small"}, {1 << 30, "t3.micro"}, {0, "t3.nano"}}

func instanceType(memory int64) string {
	for _, t := range instanceTypes {
		if memory >= t.memory {
			return t.name
		}
	}
	return ""
}

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
		ID: "i-0" + hex.EncodeToString(id), Type: instanceType(r.memory), Region: "us-east-1", Zone: "us-east-1a",
		MAC: "52:54:00:12:34:56", Address: qemu.EC2Address, UserData: data,
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

// metadataLog shows what the pod metadata says, until the kubelet asks an API server who
// may read it.
type metadataLog struct{ shown int } // bytes

// news returns what the pod has said since the last call.
func (l *metadataLog) news(ctx context.Context, api *kubeletapi.Client, pods []kubeletapi.Pod) []string {
	pod, found := kubeletapi.Find(pods, "kube-system", "metadata")
	if !found {
		return nil
	}
	text, err := api.Logs(ctx, pod.Namespace, pod.Name, "metadata")
	if err != nil {
		return nil // not started, or no longer to be read
	}
	return l.lines(string(text))
}

// lines returns the whole lines of a log that were not there before. A container that was
// started again has a new log.
func (l *metadataLog) lines(text string) []string {
	if len(text) < l.shown {
		l.shown = 0
	}
	end := strings.LastIndexByte(text, '\n') + 1
	if end <= l.shown {
		return nil
	}
	fresh := strings.TrimSuffix(text[l.shown:end], "\n")
	l.shown = end
	return strings.Split(fresh, "\n")
}
