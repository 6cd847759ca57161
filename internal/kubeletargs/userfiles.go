package kubeletargs

// UserFiles are the user's files that decide how the kubelet starts, below a directory
// that is laid out as /etc is, as patterns of path.Match. PID 1 keeps the last ones with
// which the kubelet stayed up, and starts it with them if it does not with newer ones.
// Whatever file the kubelet's main or Args comes to read belongs here, but kubeconfigs,
// which the main checks.
var UserFiles = []string{
	"kubernetes/config.yaml", "kubernetes/config.d/*.yaml", "kubernetes/config.d/*.conf",
	flagsFile, cloudFile, labelsFile, addressFile, providersFile,
}
