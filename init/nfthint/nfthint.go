// Package nfthint tells images with an old iptables that this node's rules are those of
// nftables: it makes the empty chain KUBE-IPTABLES-HINT in the tables "mangle", which
// kubelets that use iptables make (makeIPTablesUtilChains). The wrapper scripts in such
// images look for it, to choose between iptables-nft and iptables-legacy.
//
// It speaks nfnetlink (the kernel's include/uapi/linux/netfilter/nf_tables.h) and leaves
// out all of it but that.
package nfthint

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	table = "mangle"
	chain = "KUBE-IPTABLES-HINT"
)

// Make makes the tables and chains. Those that exist stay as they are. It does nothing
// on a kernel without nftables.
func Make() error {
	var errs []error
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		err := send(batch(family), 2)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
			errs = append(errs, fmt.Errorf("make the chain %s: %w", chain, err))
		}
	}
	return errors.Join(errs...)
}

// batch is a transaction: all of it is done, or nothing.
func batch(family byte) []byte {
	const create = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE
	var b []byte
	b = append(b, message(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))...)
	b = append(b, message(nft(unix.NFT_MSG_NEWTABLE), create, header(family, 0),
		attribute(unix.NFTA_TABLE_NAME, table))...)
	b = append(b, message(nft(unix.NFT_MSG_NEWCHAIN), create, header(family, 0),
		attribute(unix.NFTA_CHAIN_TABLE, table), attribute(unix.NFTA_CHAIN_NAME, chain))...)
	return append(b, message(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))...)
}

// nft returns the type of a message to nf_tables.
func nft(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

func message(kind, flags uint16, parts ...[]byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr)
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	return b
}

// header is struct nfgenmsg.
func header(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// attribute is one with a string, padded to a multiple of four bytes.
func attribute(kind uint16, value string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)+1))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	b = append(b, 0)
	return append(b, make([]byte, -len(b)&3)...)
}

// send sends messages and reads the answers to those that ask for one.
func send(messages []byte, answers int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// The kernel has answered when sendto returns. This is for the case that it has not.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	if err := unix.Sendto(fd, messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	for answers > 0 {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		read, err := acknowledged(answer[:n])
		if err != nil {
			return err
		}
		answers -= read
	}
	return nil
}

// acknowledged counts the messages of an answer. Their only kind is the error, which is 0
// for success.
func acknowledged(b []byte) (count int, err error) {
	for len(b) >= unix.SizeofNlMsghdr+4 {
		length := int(binary.NativeEndian.Uint32(b))
		if kind := binary.NativeEndian.Uint16(b[4:]); kind != unix.NLMSG_ERROR || length < unix.SizeofNlMsghdr+4 {
			return 0, fmt.Errorf("an answer of type %d and %d bytes", kind, length)
		}
		if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 {
			return 0, unix.Errno(-code)
		}
		count++
		b = b[min(length+(-length&3), len(b)):]
	}
	if count == 0 {
		return 0, errors.New("an empty answer")
	}
	return count, nil
}
