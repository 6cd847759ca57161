// Package modules is the service of the pod "modules": it loads the drivers of
// the devices that are there when it starts (coldplug), of those that appear
// later (hotplug), and the modules that the user's file names.
//
// The modalias of a device tells its kind, and depmod has listed which modules fit
// which kinds (package modprobe). A device that has a driver
// is left alone. Nothing is ever unloaded, and what failed is not tried again
// until the user's file changes.
//
// It leaves out device nodes (the kernel's devtmpfs makes them), firmware (the
// kernel reads it) and what the kernel itself asks /bin/modprobe for.
package modules
