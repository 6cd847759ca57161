// Package ignition takes the files out of an Ignition configuration, version 3.
package ignition
