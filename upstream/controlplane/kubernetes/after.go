package main

import (
	"crypto/tls"
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

const afterPoll = 200 * time.Millisecond

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
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		// Nothing is sent and nothing is believed but that it is time to begin: the
		// program itself checks whom it talks to.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	for !answers(client, url) {
		select {
		case <-time.After(afterPoll):
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
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
