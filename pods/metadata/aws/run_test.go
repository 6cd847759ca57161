package aws

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/internal/control"
	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/awslab"
)

// node makes the files of a node that Run uses, and returns what is asked of PID 1.
func node(t *testing.T) (Paths, chan string) {
	t.Helper()
	dir := t.TempDir()
	p := Paths{
		Token: filepath.Join(dir, "aws/token"), Sys: filepath.Join(dir, "sys"),
		PowerOff: filepath.Join(dir, "power-off"),
	}
	asked := make(chan string, 10)
	s, err := control.Listen(p.PowerOff, func(why string) error { asked <- why; return nil })
	lab.Must(t, err)
	go s.Run(t.Logf)
	t.Cleanup(func() { s.Close() })
	return p, asked
}

// A spot instance powers off when EC2 takes it back. All that Run does ends with it.
func TestRun(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	l.IMDS.Set("meta-data/instance-life-cycle", "spot")
	c, said := open(t, l)
	p, asked := node(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx, &want.EKS{Cluster: "shop"}, p) }()
	lab.Eventually(t, 20*time.Second, "the token", func() error { _, err := os.Stat(p.Token); return err })
	l.IMDS.Set("meta-data/events/recommendations/rebalance", `{"noticeTime": "2026-11-30T10:00:00Z"}`)
	lab.Until(t, 20*time.Second, "the advice", func() bool { return strings.Contains(said.String(), "advises to leave") })
	l.IMDS.Set("meta-data/spot/instance-action", "garbage")
	lab.Until(t, 20*time.Second, "a line of the garbage", func() bool { return strings.Contains(said.String(), "read spot/instance-action") })
	if len(asked) > 0 {
		t.Errorf("PID 1 is asked for %q before EC2 says so", <-asked)
	}
	l.IMDS.Interrupt("terminate", time.Now().Add(2*time.Minute))
	if why := <-asked; why != "spot-terminate" || !strings.Contains(said.String(), "EC2 takes this machine back (terminate)") {
		t.Errorf("PID 1 is asked for %q, the log says %s", why, said)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := len(asked); n != 0 {
		t.Errorf("PID 1 is asked %d times more", n)
	}
}

// PID 1 may not listen yet. It is asked until it does as it is told.
func TestPowerOffAgain(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	l.IMDS.Remove("meta-data/instance-life-cycle") // not all that speak like EC2 have it
	l.IMDS.Interrupt("stop", time.Now())
	c, said := open(t, l)
	path := filepath.Join(t.TempDir(), "power-off")
	done := make(chan error)
	go func() { done <- c.watchSpot(t.Context(), path) }()
	lab.Until(t, 20*time.Second, "a line about PID 1", func() bool { return strings.Contains(said.String(), "ask PID 1") })
	s, err := control.Listen(path, func(why string) error { return nil })
	lab.Must(t, err)
	go s.Run(t.Logf)
	defer s.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A machine that is not taken back asks only once whether it is one that may be.
func TestOnDemand(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	l.IMDS.Interrupt("terminate", time.Now())
	c, _ := open(t, l)
	if err := c.watchSpot(t.Context(), "/nowhere"); err != nil {
		t.Error(err)
	}
	if n := l.IMDS.Asked("/latest/meta-data/spot/instance-action"); n != 0 {
		t.Errorf("it looks for the end of a spot instance %d times", n)
	}
}

func TestSetTimeouts(t *testing.T) {
	sys := t.TempDir()
	for disk, model := range map[string]string{
		"nvme0n1": "Amazon Elastic Block Store              \n", "nvme1n1": "Amazon EC2 NVMe Instance Storage        \n", "nvme2n1": "Amazon Elastic Block Store\n",
	} {
		lab.WriteFile(t, filepath.Join(sys, "block", disk, "device/model"), model)
		lab.WriteFile(t, filepath.Join(sys, "block", disk, "queue/io_timeout"), "30000\n")
	}
	// What the kernel gives back with 1000, 250 and 100 jiffies a second.
	for i, text := range []string{"4294967294\n", "4294967288\n", "4294967276\n"} {
		disk := filepath.Join(sys, "block", fmt.Sprintf("nvme%dn1", 3+i))
		lab.WriteFile(t, filepath.Join(disk, "device/model"), ebsModel)
		lab.WriteFile(t, filepath.Join(disk, "queue/io_timeout"), text)
	}
	lab.Must(t, os.Remove(filepath.Join(sys, "block/nvme2n1/queue/io_timeout"))) // it is about to go
	lab.Must(t, setTimeouts(sys))
	for disk, want := range map[string]string{"nvme0n1": "4294967295", "nvme1n1": "30000", "nvme3n1": "4294967294", "nvme4n1": "4294967288", "nvme5n1": "4294967276"} {
		if got := readText(filepath.Join(sys, "block", disk, "queue/io_timeout")); !strings.HasPrefix(got, want) {
			t.Errorf("%s has the timeout %s, want %s", disk, got, want)
		}
	}
}
