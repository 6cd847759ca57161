package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"kios/internal/control"
	"kios/internal/instance"
	"kios/pods/console"
	"kios/pods/metadata/aws"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/place"
	"kios/pods/metadata/provider"
	"kios/pods/metadata/want"
)

// Service makes the node's files.
type Service struct {
	Root string // where the node's /etc, /run and the like are
	Log  *log.Logger
	// Console is for what a person has to know whose node does not join: mistakes, what is
	// left out, and what the node waits for. It may be nil.
	Console *console.Console

	ec2Options aws.Options // the zero value but in tests
}

// Run makes the files once, and goes on where the node needs it to. It returns where
// nobody has metadata for this machine.
func (s *Service) Run(ctx context.Context) error {
	return s.report(ctx, s.run(ctx))
}

// report shows an error at the console, which knows the lines that were there before, and
// returns it as the program may repeat it in the pod's log.
func (s *Service) report(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	s.Console.Error(err.Error())
	return errors.New(console.Redact(err.Error()))
}

func (s *Service) run(ctx context.Context) error {
	net.DefaultResolver = resolver(s.Root)
	record, _ := instance.Load(s.Root) // package place says what is wrong with it
	found, err := provider.Find(ctx, provider.Env{View: s.view(), DHCPServers: s.dhcpServers, Had: record.Had, Log: s.aloud()})
	if err != nil {
		return err
	}
	if found == nil {
		s.Log.Print("nobody has metadata for this machine: no cloud that is known, no disk with the label cidata or config-2, nothing in the firmware")
		return nil
	}
	s.Log.Printf("the metadata come from %s", found.From)
	m, err := found.Read(ctx)
	if err != nil {
		return err
	}
	r := &reading{Service: s, machine: &m, node: new(want.Node)}
	if m.Provider == provider.EC2 {
		r.ec2 = r.openEC2()
	}
	return r.run(ctx, found)
}

// aloud is the log for what the node waits for, and the like: those who look at the console
// have to know it, too.
func (s *Service) aloud() *log.Logger {
	return log.New(io.MultiWriter(s.Log.Writer(), s.Console.Warnings()), "", 0)
}

// view is how the pod's container shows the machine.
func (s *Service) view() machine.View {
	return machine.View{
		Sys: "/sys", Dev: filepath.Join(s.Root, "dev"), EFIVars: filepath.Join(s.Root, "sys/firmware/efi/efivars"),
		Cmdline: "/proc/cmdline", Scratch: "/mnt", Quiet: machine.Quiet,
	}
}

// reading is what becomes of one reading of the metadata.
type reading struct {
	*Service
	machine *want.Machine
	node    *want.Node
	more    []want.File // that no user data ask for
	ec2     *aws.Cloud  // nil elsewhere
}

// run makes the node's files. User data that make no sense are an error in the end, so
// that the pod shows it and reads them again; until then all else is done.
func (r *reading) run(ctx context.Context, found *provider.Found) error {
	bad := r.understand(ctx)
	network, err := r.network()
	if bad = mistakes(errors.Join(bad, err)); bad != nil {
		r.complain(bad)
		r.node.Partial = true
	}
	r.more = slices.Concat(network, r.disks())
	r.nameSkipped()
	ready := make(chan error, 1)
	if err := r.place(ctx, func() { go func() { ready <- found.Ready(ctx) }() }); err != nil {
		return err
	}
	if err := <-ready; err != nil {
		return err
	}
	if err := place.AwaitJoined(ctx, r.Root, r.node); err != nil {
		return err
	}
	debug.FreeOSMemory() // what the user data were is not needed any more
	if r.ec2 != nil {
		return r.stayOnEC2(ctx, bad)
	}
	return bad
}

// maxMistakes are the lines about them. Each part of user data bounds its own, and there may
// be many parts.
const maxMistakes = 64

// mistakes has a line for each mistake, which says what it is about. Most do already.
func mistakes(bad error) error {
	if bad == nil {
		return nil
	}
	lines := strings.Split(bad.Error(), "\n")
	if more := len(lines) - maxMistakes; more > 0 {
		lines = append(lines[:maxMistakes], fmt.Sprintf("there are %d more mistakes", more))
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "user data") && !strings.HasPrefix(line, "network data") {
			lines[i] = "user data: " + line
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// complain writes them.
func (r *reading) complain(bad error) {
	for line := range strings.SplitSeq(bad.Error(), "\n") {
		r.Log.Print(line)
	}
	r.Console.Error(bad.Error())
}

// maxNamed are the lines of the console about what is not done. Cluster API's user data ask
// for some such things on every node.
const maxNamed = 12

// nameSkipped says what is not done.
func (r *reading) nameSkipped() {
	for i, line := range r.node.Skipped {
		line = "not done: " + line
		r.Log.Print(line)
		if i < maxNamed {
			r.Console.Warn(line)
		}
	}
	if more := len(r.node.Skipped) - maxNamed; more > 0 {
		r.Console.Warn(fmt.Sprintf("not done: %d more, which the pod's log names", more))
	}
}

// place writes the files, and calls ready when all are there that need nobody's answer. Those
// that make a node of a cluster need its API server, or that of EC2, which may need the others:
// the address may be reached by what is in network.yaml, or through a proxy.
func (r *reading) place(ctx context.Context, ready func()) error {
	if err := r.forgetOther(ctx); err != nil {
		return err
	}
	all, err := r.placeFirst()
	// Now: the next run would find these files as they have to be. What the API server is
	// asked may take for ever, and the images of the network that leads to it are pulled
	// through the user's proxy.
	err = errors.Join(err, r.restartContainerd(all))
	if err == nil {
		ready()
		var last place.Result
		last, err = r.placeLast(ctx)
		all.Written, all.Removed = append(all.Written, last.Written...), append(all.Removed, last.Removed...)
	}
	if ctx.Err() != nil {
		return err // the kubelet stops, or the node
	}
	return errors.Join(err, r.restartKubelet(all))
}

// forgetOther has PID 1 forget another machine that the disk was in. It comes first: once the
// record is of this machine, nobody would know.
func (r *reading) forgetOther(ctx context.Context) error {
	if !place.IsOther(r.Root, r.machine) {
		return nil
	}
	return control.Send(ctx, filepath.Join(r.Root, control.OtherMachine), "metadata")
}

// placeFirst writes what needs nobody's answer.
func (r *reading) placeFirst() (place.Result, error) {
	if e := r.node.EKS; r.unnamed() && e.InstanceIDName {
		r.node.Hostname = r.machine.ID
	}
	if !r.unnamed() {
		return r.apply(nil)
	}
	whole := r.node
	defer func() { r.node = whole }()
	r.node = withoutCluster(whole)
	r.node.Hostname = r.nameBefore()
	return r.apply(nil)
}

// placeLast writes the files that others have a say in.
func (r *reading) placeLast(ctx context.Context) (place.Result, error) {
	if r.ec2 != nil {
		r.ec2 = r.openEC2() // with the proxy and the certificates that are there now
	}
	if r.unnamed() {
		name, err := r.ec2.NodeName(ctx, r.machine, r.node.EKS, r.nameBefore())
		if err != nil {
			return place.Result{}, err
		}
		r.node.Hostname = name
		return r.apply(nil)
	}
	if j := r.node.Join; j != nil && j.Asks() && !place.Settled(r.Root, r.machine, r.node) {
		return r.placeCluster(ctx, j)
	}
	return place.Result{}, nil
}

// placeCluster writes the files that the API server has a say in.
func (r *reading) placeCluster(ctx context.Context, j *want.Join) (place.Result, error) {
	cluster, err := r.ask(ctx, j)
	if err != nil {
		return place.Result{}, err
	}
	return r.apply(cluster)
}

const (
	firstPause = time.Second
	longest    = 30 * time.Second
)

// ask asks the API server until it answers.
func (r *reading) ask(ctx context.Context, j *want.Join) (*want.Cluster, error) {
	var said time.Time
	for pause := firstPause; ; pause = min(2*pause, longest) {
		cluster, err := kubeadm.Resolve(ctx, j)
		if err == nil || ctx.Err() != nil {
			return cluster, err
		}
		if time.Since(said) > time.Minute {
			r.aloud().Printf("join the cluster: %v: trying again", err)
			said = time.Now()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *reading) apply(c *want.Cluster) (place.Result, error) {
	result, err := place.Apply(r.Root, r.machine, r.node, c, r.more...)
	aloud := r.aloud()
	for _, line := range result.Lines {
		aloud.Print(line)
	}
	for _, path := range result.Written {
		r.Log.Printf("wrote %s", path)
	}
	for _, path := range result.Removed {
		r.Log.Printf("removed %s, which was asked for before", path)
	}
	return result, err
}
