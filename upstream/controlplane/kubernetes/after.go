package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// afterFlag is a flag of ours before the program's name: --after=URL begins the
// program's work once the URL answers 200.
//
// The parts of a control plane need one another, and all are started at once.
// Without this flag, a part that does not find another exits, and is started again
// after a while. It is then loaded and initialised once more, which is the longest
// part of a start on a slow machine. Waiting here costs nothing, and ends as soon
// as the other part answers.
const afterFlag = "--after="

// The time between two requests grows from the first to the last of these, because
// answering is work for a server that is still starting. A server that is slow to
// answer gets even more time.
const (
	afterPollFirst = 100 * time.Millisecond
	afterPollLast  = 2 * time.Second
)

// waitFirst takes the flag out of the arguments and waits for its URL.
func waitFirst() {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], afterFlag) {
		return
	}
	url := strings.TrimPrefix(os.Args[1], afterFlag)
	os.Args = append(os.Args[:1], os.Args[2:]...)
	waitFor(url)
}

// waitFor waits until the URL answers 200, or ends the process on a signal. There
// is no bound: whoever started the process knows how long is too long.
func waitFor(url string) {
	// PID 1 of a container gets no signal that it does not ask for.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	transport := &http.Transport{
		// Nothing is sent, and the answer only tells that it is time to begin. The
		// program itself checks whom it talks to.
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		TLSHandshakeTimeout: time.Minute,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: time.Minute, Transport: transport}
	for pause := afterPollFirst; ; pause = min(pause*5/4, afterPollLast) {
		asked := time.Now()
		if answers(client, url) {
			return
		}
		select {
		case <-time.After(max(pause, 2*time.Since(asked))):
		case <-stop:
			os.Exit(0)
		}
	}
}

func answers(client *http.Client, url string) bool {
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
