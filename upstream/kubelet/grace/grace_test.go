package grace

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/configz"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

func TestRead(t *testing.T) {
	if grace, ok := read(); ok {
		t.Errorf("before the kubelet has published anything: %v", grace)
	}
	z, err := configz.New("kubeletconfig")
	if err != nil {
		t.Fatal(err)
	}
	if grace, ok := read(); ok {
		t.Errorf("before the kubelet has a configuration: %v", grace)
	}
	z.Set(&kubeletv1beta1.KubeletConfiguration{ShutdownGracePeriod: metav1.Duration{Duration: 40 * time.Second}})
	if grace, ok := read(); !ok || grace != 40*time.Second {
		t.Errorf("with shutdownGracePeriod: %v, %v, want 40s", grace, ok)
	}
	z.Set(&kubeletv1beta1.KubeletConfiguration{ShutdownGracePeriodByPodPriority: []kubeletv1beta1.ShutdownGracePeriodByPodPriority{
		{Priority: 0, ShutdownGracePeriodSeconds: 60}, {Priority: 1000, ShutdownGracePeriodSeconds: 5},
	}})
	if grace, ok := read(); !ok || grace != 65*time.Second {
		t.Errorf("with shutdownGracePeriodByPodPriority: %v, %v, want 65s", grace, ok)
	}
	z.Set(&kubeletv1beta1.KubeletConfiguration{})
	if grace, ok := read(); !ok || grace != 0 {
		t.Errorf("with none: %v, %v, want 0", grace, ok)
	}
}
