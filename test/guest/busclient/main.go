// Command busclient is a client of the node's system bus in a pod, made of the
// library that reboot agents are made of, for the tests. The pod mounts
// /run/dbus of the node, and perhaps its /run/system.sock.
//
//	busclient sleep         be the pod's main process, until it is told to stop
//	busclient deaf          the same, but do not stop when told to
//	busclient hold WHO      take a lock on shutdown, of the mode delay, and be deaf
//	busclient locks         print who holds locks: WHAT WHO MODE, a line each
//	busclient reboot        Reboot of login1
//	busclient poweroff      PowerOff of login1
//	busclient halt          Halt of login1
//	busclient plan TYPE D   ScheduleShutdown of login1, after the duration D
//	busclient can           print what CanPowerOff, CanReboot and CanHalt answer
//	busclient restart UNIT  restart a unit, and print how the job ended
//	busclient state UNIT    print ActiveState, SubState, MainPID and NRestarts
//	busclient rename NAME   SetStaticHostname of hostname1
//	busclient byte N...     write bytes to the old socket
//	busclient try ARGS...   do that, print the error, if any, and succeed
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/login1"
	"github.com/godbus/dbus/v5"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("busclient: ")
	log.SetOutput(os.Stdout) // what the kubelet returns of a command
	os.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
	args, try := os.Args[1:], false
	if len(args) > 0 && args[0] == "try" {
		args, try = args[1:], true // the kubelet drops what a command that fails has printed
	}
	if err := run(args); err != nil {
		log.Println(err)
		if !try {
			os.Exit(1)
		}
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("say what to do")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	switch command, args := args[0], args[1:]; {
	case command == "sleep":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("busclient: ready")
		<-stop
	case command == "deaf":
		return deaf()
	case command == "hold" && len(args) == 1:
		return hold(args[0])
	case command == "locks":
		return locks()
	case command == "reboot", command == "poweroff", command == "halt":
		return stop(command)
	case command == "plan" && len(args) == 2:
		return plan(args[0], args[1])
	case command == "can":
		return can()
	case command == "restart" && len(args) == 1:
		return restart(ctx, args[0])
	case command == "state" && len(args) == 1:
		return state(ctx, args[0])
	case command == "rename" && len(args) == 1:
		return rename(args[0])
	case command == "byte":
		return bytes(args)
	default:
		return fmt.Errorf("do not understand %q", os.Args[1:])
	}
	return nil
}

func deaf() error {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("busclient: ready")
	for {
		time.Sleep(time.Hour)
	}
}

func hold(who string) error {
	c, err := login1.New()
	if err != nil {
		return err
	}
	lock, err := c.Inhibit("shutdown", who, "to be in the way", "delay")
	if err != nil {
		return err
	}
	defer lock.Close()
	return deaf()
}

// login calls a method of login1 and returns its results.
func login(method string, args ...any) ([]any, error) {
	c, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	call := c.Object("org.freedesktop.login1", "/org/freedesktop/login1").Call("org.freedesktop.login1.Manager."+method, 0, args...)
	return call.Body, named(call.Err)
}

// named puts the name of a D-Bus error in front of its text.
func named(err error) error {
	var e dbus.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	return err
}

func locks() error {
	results, err := login("ListInhibitors")
	if err != nil {
		return err
	}
	for _, l := range results[0].([][]any) {
		fmt.Println(l[0], l[1], l[3])
	}
	return nil
}

// stop does not use login1.Conn's own methods, which drop the error.
func stop(command string) error {
	_, err := login(map[string]string{"reboot": "Reboot", "poweroff": "PowerOff", "halt": "Halt"}[command], false)
	return err
}

func plan(kind, after string) error {
	d, err := time.ParseDuration(after)
	if err != nil {
		return err
	}
	_, err = login("ScheduleShutdown", kind, uint64(time.Now().Add(d).UnixMicro()))
	return err
}

func can() error {
	var answers []any
	for _, method := range []string{"CanPowerOff", "CanReboot", "CanHalt"} {
		results, err := login(method)
		if err != nil {
			return err
		}
		answers = append(answers, results...)
	}
	fmt.Println(answers...)
	return nil
}

func restart(ctx context.Context, unit string) error {
	c, err := systemd.NewSystemConnectionContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	result := make(chan string, 1)
	if _, err := c.RestartUnitContext(ctx, unit, "replace", result); err != nil {
		return named(err)
	}
	select {
	case r := <-result:
		fmt.Println(r)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func state(ctx context.Context, unit string) error {
	c, err := systemd.NewSystemConnectionContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	u, err := c.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return named(err)
	}
	s, err := c.GetUnitTypePropertiesContext(ctx, unit, "Service")
	if err != nil {
		return named(err)
	}
	fmt.Println(u["ActiveState"], u["SubState"], s["MainPID"], s["NRestarts"])
	return nil
}

func rename(name string) error {
	c, err := dbus.ConnectSystemBus()
	if err != nil {
		return err
	}
	defer c.Close()
	o := c.Object("org.freedesktop.hostname1", "/org/freedesktop/hostname1")
	return named(o.Call("org.freedesktop.hostname1.SetStaticHostname", 0, name, false).Err)
}

func bytes(args []string) error {
	var text []byte
	for _, a := range args {
		n, err := strconv.ParseUint(a, 0, 8)
		if err != nil {
			return err
		}
		text = append(text, byte(n))
	}
	c, err := net.Dial("unix", "/run/system.sock")
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(text)
	return err
}
