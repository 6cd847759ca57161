//go:build image

package e2e

import (
	"testing"

	"kios/test/lab/machine"
)

func TestMain(m *testing.M) { machine.Main(m) }
