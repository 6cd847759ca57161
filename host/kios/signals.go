package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// interrupts are the signals that end a command in order: what it has started
// outlives neither it nor, unless nohup(1) says otherwise, its terminal.
func interrupts() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// firstSignal waits for a signal.
func firstSignal(ctx context.Context, signals <-chan os.Signal) bool {
	select {
	case <-signals:
		return true
	case <-ctx.Done():
		return false
	}
}

// secondSignal waits for another signal. One that comes within a second of
// the first is the same one: timeout(1) and some shells send it to the process
// and to its group.
func secondSignal(ctx context.Context, signals <-chan os.Signal) bool {
	for first := time.Now(); ; {
		select {
		case <-signals:
			if time.Since(first) > time.Second {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}
