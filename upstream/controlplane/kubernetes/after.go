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
// Left alone, one that does not find another exits, and is started again after
// a while: then it is loaded and initialised again, which on a slow machine takes
// the longest part of a start. Waiting here costs nothing, and ends at once.
const afterFlag = "--after="

// Time between two questions: at first the shortest, and ever longer up to the
// longest, because an answer is work for a server that has its start to do. One
// that is slow to answer is left alone for longer still.
const (
	afterPollFirst = 100 * time.Millisecond
	afterPollLast  = 2 * time.Second
)

// waitFirst takes the flag out of the arguments and waits for its URL. There is
// no bound: who started this knows how long is too long.
func waitFirst() {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], afterFlag) {
		return
	}
	url := strings.TrimPrefix(os.Args[1], afterFlag)
	os.Args = append(os.Args[:1], os.Args[2:]...)
	// PID 1 of a container gets no signal that it does not ask for.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	transport := &http.Transport{
		// Nothing is sent and nothing is believed but that it is time to begin: the
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
