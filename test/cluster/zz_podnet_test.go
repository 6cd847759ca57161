//go:build cluster && podnetlab

package cluster

import (
	"fmt"
	"os"
	"testing"
	"time"

	"kios/internal/cluster"
)

func TestZZPodnet(t *testing.T) {
	l := newLab(t, cluster.Config{})
	var workers []*node
	begin := time.Now()
	for _, name := range []string{"worker-1", "worker-2"} {
		workers = append(workers, l.boot(setup{name: name, images: l.products.Worker, memory: 1024}))
	}
	l.addOns()
	fmt.Println("LAB", l.name, l.kubeconfig(), l.products.Bin["kubectl"])
	os.WriteFile("/tmp/podnet/lab", []byte(fmt.Sprintf("NS=%s\nKC=%s\nKUBECTL=%s\n", l.name, l.kubeconfig(), l.products.Bin["kubectl"])), 0o644)
	waitForAddOns(l.admin(t), workers)
	fmt.Println("LAB ready after", time.Since(begin))
	testServiceByName(l.user(t))
	fmt.Println("LAB services work after", time.Since(begin))
	for end := time.Now().Add(6 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if _, err := os.Stat("/tmp/podnet/stop"); err == nil {
			break
		}
		if _, err := os.Stat("/tmp/podnet/reset"); err == nil {
			os.Remove("/tmp/podnet/reset")
			fmt.Println("LAB reset")
			workers[0].powerOff(t)
			workers[0].start(t)
			fmt.Println("LAB is back")
		}
	}
}
