package qemu

import (
	"fmt"
	"strings"
)

// EC2 has a machine look like one of EC2, as far as its firmware tells, and reach a
// metadata service at http://169.254.169.254.
type EC2 struct {
	ID   string // such as i-0123456789abcdef0, of which the machine's UUID is made
	Type string // of the instance
	// Service is a program with its arguments that QEMU starts for each connection to
	// the service, which is its standard input and output.
	Service []string
}

// EC2Address is what such a machine gets by DHCP.
const EC2Address = "172.31.0.15"

// ec2Network is a network that has both the machine and the service in it, since QEMU
// forwards addresses of its own network only, and takes masks of four bits and more. What
// else is in 160.0.0.0/4 is not to be reached.
const ec2Network = ",net=160.0.0.0/4,host=172.31.0.2,dns=172.31.0.3,dhcpstart=" + EC2Address + ",guestfwd=tcp:169.254.169.254:80-cmd:"

// network continues the options of the user-mode network.
func (e *EC2) network() string {
	if e == nil {
		return ""
	}
	var words []string
	for _, word := range e.Service {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	return ec2Network + escape(strings.Join(words, " "))
}

// firmware is what SMBIOS says on EC2.
func (e *EC2) firmware() []string {
	if e == nil {
		return nil
	}
	return []string{
		"-smbios", "type=0,vendor=Amazon EC2,version=1.0",
		"-smbios", fmt.Sprintf("type=1,manufacturer=Amazon EC2,product=%s,serial=%s,uuid=%s", e.Type, e.uuid(), e.uuid()),
		"-smbios", "type=2,manufacturer=Amazon EC2,asset=" + e.ID,
		"-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2",
	}
}

// uuid begins with ec2, as on EC2, and goes on with the digits of the ID.
func (e *EC2) uuid() string {
	digits := "ec2" + strings.Repeat("0", 29)
	if id := strings.TrimPrefix(e.ID, "i-"); len(id) <= 29 {
		digits = digits[:32-len(id)] + id
	}
	return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}

// sandbox bounds what escapes from the guest into QEMU. It starts no program and gains no
// right. With a metadata service, QEMU has to start that in a session of its own, and
// setsid(2) is among what elevateprivileges=deny forbids. Programs that QEMU starts still
// gain no right: libseccomp sets PR_SET_NO_NEW_PRIVS.
func (e *EC2) sandbox() string {
	if e != nil {
		return "on,obsolete=deny,elevateprivileges=allow,spawn=allow"
	}
	return "on,obsolete=deny,elevateprivileges=deny,spawn=deny"
}
