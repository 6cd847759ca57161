package dhcp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	ipHeader  = 20
	udpHeader = 8
)

// datagram wraps payload into UDP and IPv4 (RFC 768, RFC 791), from src to the
// server's port of everyone.
func datagram(payload, src []byte) []byte {
	p := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(payload))
	p = append(p, payload...)
	ip, udp := p[:ipHeader], p[ipHeader:]

	ip[0] = 0x45 // version 4, header of 5 words
	binary.BigEndian.PutUint16(ip[2:], uint16(len(p)))
	ip[8] = 64 // time to live
	ip[9] = unix.IPPROTO_UDP
	copy(ip[12:16], src)
	copy(ip[16:20], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))

	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(len(udp)) + uint32(sum(0, ip[12:20]))
	check := ^sum(pseudo, udp)
	if check == 0 {
		check = 0xffff // 0 says that there is no checksum
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return p
}

// sum is the ones' complement sum of RFC 1071, starting from initial.
func sum(initial uint32, b []byte) uint16 {
	total := initial
	for ; len(b) > 1; b = b[2:] {
		total += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint32(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// udpPayload returns what an IPv4 packet with UDP carries, or nil if its
// lengths do not fit together. Checksums are not checked: between virtual
// machines on one host they are often left for hardware to fill in.
func udpPayload(p []byte) []byte {
	if len(p) < ipHeader {
		return nil
	}
	header := int(p[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(p[2:]))
	if p[0]>>4 != 4 || header < ipHeader || total > len(p) || total < header+udpHeader {
		return nil
	}
	udp := p[header:total] // shorter than p when the frame was padded
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeader || length > len(udp) {
		return nil
	}
	return udp[udpHeader:length]
}
