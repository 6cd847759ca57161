//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
	"kios/test/lab/netns"
)

// patience is how long things may take on a machine with hardware
// virtualisation.
const patience = 30 * time.Second

// user is somebody with kubectl: in a test, and in a namespace of the cluster.
type user struct {
	t          *testing.T
	env        *env   // nil if the cluster is none
	namespace  string // "" is default, or what manifests say
	kubeconfig string
	prefix     []string // a command that starts kubectl where it reaches the cluster
	bin        string
	patience   time.Duration
}

// admin is a user in no particular namespace.
func (e *env) admin(t *testing.T) *user {
	return &user{
		t:          t,
		env:        e,
		kubeconfig: e.kubeconfig(),
		prefix:     []string{"ip", "netns", "exec", e.name},
		bin:        e.products.Bin["kubectl"],
		patience:   e.scale(patience),
	}
}

// user is a user in a namespace of its own, which goes when the test ends.
func (e *env) user(t *testing.T) *user {
	t.Helper()
	u := e.admin(t)
	_, last, _ := strings.Cut(t.Name(), "/")
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ".", "-").Replace(last))
	if name == "" {
		name = "test"
	}
	u.kubectl("create", "namespace", name)
	u.namespace = name
	u.waitFor("serviceaccount/default", "create") // pods are refused until then
	t.Cleanup(func() {
		if t.Failed() {
			u.t.Log(u.describe())
			return
		}
		_, _ = u.run(context.Background(), "", "delete", "namespace", name, "--wait=false")
	})
	return u
}

// describe says what is in the namespace, and what happened there.
func (u *user) describe() string {
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		text, err := u.run(context.Background(), "", args...)
		fmt.Fprintf(&b, "kubectl %s\n%s", strings.Join(args, " "), text)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
	}
	return b.String()
}

// run runs kubectl with a standard input and returns its standard output.
func (u *user) run(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*u.patience)
	defer cancel()
	cmd := u.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(text), err
}

func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string{}, u.prefix...), u.bin, "--kubeconfig="+u.kubeconfig)
	if u.namespace != "" {
		argv = append(argv, "--namespace="+u.namespace)
	}
	argv = append(argv, args...)
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// try runs kubectl, which may fail.
func (u *user) try(args ...string) (string, error) {
	return u.run(u.t.Context(), "", args...)
}

// kubectl runs kubectl, which must not fail.
func (u *user) kubectl(args ...string) string {
	u.t.Helper()
	text, err := u.try(args...)
	lab.Must(u.t, err)
	return text
}

// both runs kubectl and returns what it said to both outputs.
func (u *user) both(args ...string) (string, error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 2*u.patience)
	defer cancel()
	text, err := u.command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return string(text), err
}

// start runs kubectl until the test ends.
func (u *user) start(args ...string) *netns.Process {
	u.t.Helper()
	cmd := u.command(u.t.Context(), args...)
	return netns.StartCommand(u.t, cmd)
}

// apply creates what a manifest says.
func (u *user) apply(manifest string) {
	u.t.Helper()
	// The schema is not asked for: that is much for a small machine, and the
	// API server checks anyway.
	if _, err := u.run(u.t.Context(), manifest, "apply", "--server-side", "-f", "-"); err != nil {
		u.t.Fatalf("%v\n%.2000s", err, manifest)
	}
}

// exec runs a program of the workload in a pod.
func (u *user) exec(pod string, args ...string) string {
	u.t.Helper()
	return u.kubectl(append([]string{"exec", pod, "--", "/workload"}, args...)...)
}

func (u *user) tryExec(pod string, args ...string) (string, error) {
	return u.try(append([]string{"exec", pod, "--", "/workload"}, args...)...)
}

// waitFor waits for a condition as kubectl wait has them, such as
// "condition=Ready", "create" or "jsonpath={.status.phase}=Succeeded".
func (u *user) waitFor(object, condition string) {
	u.t.Helper()
	defer u.slow(time.Now(), object+" "+condition)
	_, err := u.try("wait", object, "--for="+condition, fmt.Sprintf("--timeout=%ds", int(u.patience.Seconds())))
	if err != nil {
		description, _ := u.try("describe", object)
		u.t.Fatalf("%v\n%s", err, description)
	}
}

// ready waits for pods to be ready.
func (u *user) ready(pods ...string) {
	u.t.Helper()
	for _, pod := range pods {
		u.waitFor("pod/"+pod, "condition=Ready")
	}
}

// succeeded waits for pods that end.
func (u *user) succeeded(pods ...string) {
	u.t.Helper()
	for _, pod := range pods {
		u.waitFor("pod/"+pod, "jsonpath={.status.phase}=Succeeded")
	}
}

// field returns a part of an object.
func (u *user) field(object, jsonpath string) string {
	u.t.Helper()
	return u.kubectl("get", object, "-o", "jsonpath="+jsonpath)
}

// get decodes an object, or a list.
func (u *user) get(v any, args ...string) error {
	text, err := u.try(append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), v)
}

// eventually repeats try until it returns nil.
func (u *user) eventually(what string, try func() error) {
	u.t.Helper()
	u.within(u.patience, what, try)
}

// within repeats try until it returns nil, for some time.
func (u *user) within(bound time.Duration, what string, try func() error) {
	u.t.Helper()
	defer u.slow(time.Now(), what)
	lab.Eventually(u.t, bound, what, try)
}

// slow logs what took long.
func (u *user) slow(since time.Time, what string) {
	u.t.Helper()
	if took := time.Since(since); took > 5*time.Second {
		u.t.Logf("%s: waited %s", what, took.Round(time.Second))
	}
}

// wants returns an error if text does not contain each of the parts.
func wants(text string, parts ...string) error {
	var missing []error
	for _, part := range parts {
		if !strings.Contains(text, part) {
			missing = append(missing, fmt.Errorf("no %q in %q", part, text))
		}
	}
	return errors.Join(missing...)
}

// demand fails the test unless text contains each of the parts.
func (u *user) demand(text string, parts ...string) {
	u.t.Helper()
	if err := wants(text, parts...); err != nil {
		u.t.Error(err)
	}
}

// file writes a file of the test's own and returns its path.
func (u *user) file(name, text string) string {
	u.t.Helper()
	path := u.t.TempDir() + "/" + name
	lab.WriteFile(u.t, path, text)
	return path
}

// exitCode returns what a program that kubectl ran has ended with.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
