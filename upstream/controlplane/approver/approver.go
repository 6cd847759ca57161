package approver

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	_ "k8s.io/client-go/tools/clientcmd"
)

func NewCommand() *cobra.Command {
	return &cobra.Command{Use: "kubelet-serving-approver", RunE: func(*cobra.Command, []string) error {
		c, err := rest.InClusterConfig()
		if err != nil {
			return err
		}
		_, err = kubernetes.NewForConfig(c)
		return err
	}}
}
