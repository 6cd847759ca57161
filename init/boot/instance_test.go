package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/init/supervise"
	"kios/init/trial"
	"kios/internal/identity"
	"kios/internal/instance"
	"kios/test/lab"
)

const (
	thisUUID  = "2a0f0b1e-8f0f-4ef4-9a57-0c3a5d0f6b11"
	otherUUID = "EC2D21A4-1111-4ef4-9a57-0c3a5d0f6b22"
)

// machineWith is a root with a record for one machine, in a machine that firmware calls
// now.
func machineWith(t *testing.T, recorded, now, machineID string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"sys/class/dmi/id/product_uuid":                  now + "\n",
		"etc/machine-id":                                 machineID + "\n",
		"etc/hostname":                                   "of-the-other\n",
		"etc/kubernetes/mine":                            "of the user\n",
		"var/meta/hostname":                              "offered\n",
		"var/meta/kubelet-files.json":                    "{}",
		"var/meta/containerd-files.json":                 "{}",
		"var/lib/kubelet/pki/kubelet-client-current.pem": "key",
	}
	for name, text := range files {
		lab.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		lab.Must(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	lab.Must(t, instance.Record{Machine: "i-1", UUID: recorded, Files: map[string]string{"/etc/hostname": ""}}.Save(root))
	return root
}

func TestDiskInAnotherMachine(t *testing.T) {
	derived, own := identity.NewMachineID(otherUUID), "0123456789abcdef0123456789abcdef"
	all := []string{"etc/hostname", "etc/machine-id", "var/meta/hostname", "var/lib/kubelet/pki/kubelet-client-current.pem",
		"var/meta/kubelet-files.json", "var/meta/containerd-files.json"}
	for _, tt := range []struct {
		name, recorded, now, machineID string
		gone                           []string
	}{
		{"another one", otherUUID, thisUUID, derived, all},
		{"with a machine id of the user", otherUUID, thisUUID, own, slices.Delete(slices.Clone(all), 1, 2)},
		{"the same one", strings.ToLower(otherUUID), otherUUID, derived, nil},
		{"the same one, with its bytes in another order", otherUUID, "a4212dec-1111-f44e-9a57-0c3a5d0f6b22", derived, nil},
		{"another one, whose bytes were in another order", "a4212dec-1111-f44e-9a57-0c3a5d0f6b22", thisUUID, derived, all},
		{"no UUID here", otherUUID, "", derived, nil},
		{"none in the record", "", thisUUID, derived, nil},
		{"one that many machines have", otherUUID, "03000200-0400-0500-0006-000700080009", derived, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, log := node(t)
			root := machineWith(t, tt.recorded, tt.now, tt.machineID)
			lab.Must(t, n.checkInstanceIn(root))
			for _, name := range append(all, "etc/kubernetes/mine") {
				_, err := os.Lstat(filepath.Join(root, name))
				if want := slices.Contains(tt.gone, name); os.IsNotExist(err) != want {
					t.Errorf("%s: %v, want gone: %v", name, err, want)
				}
			}
			if said := strings.Contains(log.String(), "this disk is from another machine"); said != (tt.gone != nil) {
				t.Errorf("log %q", log)
			}
		})
	}
}

// Without a record there is nothing to do, and nothing to say.
func TestNoRecord(t *testing.T) {
	n, log := node(t)
	if err := n.checkInstanceIn(t.TempDir()); err != nil || log.String() != "" {
		t.Errorf("error %v, log %q", err, log)
	}
}

// A pod may find out what the firmware does not say. Then nothing is left of the other
// machine, on the disk or in memory, and what its daemons run with is not kept either.
func TestForgetOther(t *testing.T) {
	n, log := node(t)
	root := machineWith(t, otherUUID, otherUUID, "")
	etc, none := filepath.Join(root, "etc"), filepath.Join(root, "none")
	lab.WriteFile(t, filepath.Join(etc, "kubernetes/config.yaml"), "of the other")
	store := trial.Store{Dir: filepath.Join(root, "run/kubelet"), File: filepath.Join(root, keptFile(kubeletName))}
	tr, err := trial.New(sources[kubeletName], store, etc, none)
	lab.Must(t, err)
	_, err = tr.Prove(tr.Next().Number, true)
	lab.Must(t, err)
	running := tr.Next().Number
	n.addTrial(&supervise.Daemon{Name: kubeletName}, tr)

	if err := n.forgetOther(root, "no word"); err == nil {
		t.Error("anything may be said on the console")
	}
	lab.Must(t, n.forgetOther(root, "metadata"))
	_, err = tr.Prove(running, true)
	lab.Must(t, err)
	for _, name := range []string{"var/meta/hostname", "var/meta/kubelet-files.json", "var/meta/containerd-files.json", "run/kubelet"} {
		if _, err := os.Lstat(filepath.Join(root, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 6 {
		s := tr.Next()
		if s.Using == trial.GoodFiles {
			t.Errorf("start %d is with files of the other machine", s.Number)
		}
		tr.Fail("it is bad")
	}
	if !strings.Contains(log.String(), "this disk is from another machine, as a pod (metadata) has found out") {
		t.Errorf("log %q", log)
	}
}
