//go:build guest

package nfthint

import (
	"errors"
	"runtime"
	"testing"

	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// deleteChain removes a chain, and so tells whether there is one that is empty and not used.
func deleteChain(family byte, name string) error {
	b := message(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	b = append(b, message(nft(unix.NFT_MSG_DELCHAIN), unix.NLM_F_REQUEST|unix.NLM_F_ACK, header(family, 0),
		attribute(unix.NFTA_CHAIN_TABLE, table), attribute(unix.NFTA_CHAIN_NAME, name))...)
	b = append(b, message(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))...)
	return send(b, 1)
}

func TestMake(t *testing.T) {
	runtime.LockOSThread() // not unlocked: the thread ends with the test, and its namespace
	lab.Must(t, unix.Unshare(unix.CLONE_NEWNET))
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if err := deleteChain(family, chain); !errors.Is(err, unix.ENOENT) {
			t.Fatalf("family %d: before, there is a chain (%v)", family, err)
		}
	}
	for range 2 { // the second time they are there
		lab.Must(t, Make())
	}
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if err := deleteChain(family, chain); err != nil {
			t.Errorf("family %d: there is no such chain: %v", family, err)
		}
	}
}
