package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// serve answers / with the pod's name, /ready and /live with what the files of
// the flags say, so that a test may change a probe's mind.
func serve(args []string) error {
	flags := newFlags("serve")
	listen := flags.String("listen", ":8080", "`ADDRESS` to serve at")
	ready := flags.String("ready", "", "/ready fails until `FILE` is there")
	dead := flags.String("dead", "", "/live fails as soon as `FILE` is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, name) })
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) { answer(w, *ready == "" || exists(*ready)) })
	http.HandleFunc("/live", func(w http.ResponseWriter, r *http.Request) { answer(w, *dead == "" || !exists(*dead)) })
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	log.Printf("%s serves at %s", name, *listen)
	return http.ListenAndServe(*listen, nil)
}

func answer(w http.ResponseWriter, well bool) {
	if !well {
		http.Error(w, "no", http.StatusServiceUnavailable)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
