// Package credprovider is how pods are image credential providers. The kubelet executes
// a provider on the host, with its arguments and a request on standard input, and reads
// the answer from standard output
// (https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/).
// On a node, init is the program: it hands all of it to the socket of that name in Dir,
// which a pod serves. The sockets belong to root and have mode 0600.
//
// On a connection there is one Request, and then one answer, each as an object in JSON.
// Both are bounded in bytes and time. A client that is gone ends the work for it.
//
// It leaves out what requests and answers say: that is between the kubelet and the
// provider.
package credprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Dir is where pods serve providers, each at Socket(NAME).
const Dir = "/run/kios/credential-providers"

// Socket returns the path at which a pod serves the provider of that name.
func Socket(name string) string { return Dir + "/" + name + ".sock" }

// Bounds in bytes.
const (
	MaxRequest = 64 << 10 // standard input; and arguments and environment together
	MaxAnswer  = 1 << 20  // standard output
	MaxError   = 4 << 10  // what a provider says in place of an answer
)

// Bounds of time. The kubelet ends a provider after a minute: a provider that takes too
// long is told of before that.
const (
	answerBound = 50 * time.Second // for the pod's work
	ioBound     = 5 * time.Second  // for a request, or an answer, on its way
	askBound    = answerBound + ioBound
	startBound  = 10 * time.Second // for a pod that is about to start
)

// Request is how the kubelet has executed a provider.
type Request struct {
	Args  []string `json:"args,omitempty"` // without the program's name
	Env   []string `json:"env,omitempty"`  // NAME=VALUE
	Stdin []byte   `json:"stdin"`
}

// check holds a request to its bounds.
func (r Request) check() error {
	words := 0
	for _, list := range [][]string{r.Args, r.Env} {
		for _, word := range list {
			words += len(word) + 1
		}
	}
	if len(r.Stdin) > MaxRequest || words > MaxRequest {
		return fmt.Errorf("the request is too large: at most %d bytes of input, and of arguments and environment, are passed on", MaxRequest)
	}
	return nil
}

// answer is what a provider has said.
type answer struct {
	Stdout []byte `json:"stdout,omitempty"`
	Error  string `json:"error,omitempty"`
}

// answerOf is what is sent for the outcome of a request.
func answerOf(stdout []byte, err error) answer {
	if err == nil && len(stdout) > MaxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", MaxAnswer)
	}
	if err == nil {
		return answer{Stdout: stdout}
	}
	text := err.Error()
	if text == "" {
		text = "it failed, and does not say why"
	}
	return answer{Error: strings.ToValidUTF8(text[:min(len(text), MaxError)], "")}
}

// result is what an answer says.
func (a answer) result() ([]byte, error) {
	switch {
	case a.Error != "":
		return nil, errors.New(a.Error[:min(len(a.Error), MaxError)])
	case len(a.Stdout) > MaxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", MaxAnswer)
	}
	return a.Stdout, nil
}

// Bytes of the messages. JSON writes bytes in base64, and some characters of a text as
// six others.
const (
	requestMessage = 2*MaxRequest + 6*MaxRequest + 1<<10
	answerMessage  = 2*MaxAnswer + 6*MaxError + 1<<10
)

// send writes one message.
func send(c net.Conn, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// receive reads one message of a bounded size.
func receive(c net.Conn, limit int64, message any) error {
	return json.NewDecoder(io.LimitReader(c, limit)).Decode(message)
}
