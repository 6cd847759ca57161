// Package ukitest makes small stand-ins for an EFI stub and a kernel, for tests
// that need files of these formats and do not run them.
package ukitest

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
)

// SBAT is the contents of the stub's section .sbat.
const SBAT = "sbat,1,SBAT Version,sbat,1,https://example.org/\nstub,1,A stub,stub,1,https://example.org/\n"

// PE returns a PE32+ file for a machine, with 1 KiB of headers, a .text and a .sbat
// section of 512 bytes each, and the given flags.
func PE(machine, dllFlags uint16) []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	dos := make([]byte, 0x80)
	copy(dos, "MZ")
	le.PutUint32(dos[0x3c:], 0x80)
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	binary.Write(&b, le, pe.FileHeader{
		Machine:              machine,
		NumberOfSections:     2,
		SizeOfOptionalHeader: 240,
		Characteristics:      0x22e,
	})
	binary.Write(&b, le, pe.OptionalHeader64{
		Magic:               0x20b,
		SectionAlignment:    0x1000,
		FileAlignment:       0x200,
		SizeOfImage:         0x3000,
		SizeOfHeaders:       0x400,
		Subsystem:           10,
		DllCharacteristics:  dllFlags,
		NumberOfRvaAndSizes: 16,
	})
	for i, name := range []string{".text", ".sbat"} {
		row := pe.SectionHeader32{
			VirtualSize:      uint32(len(SBAT)),
			VirtualAddress:   uint32(0x1000 * (i + 1)),
			SizeOfRawData:    0x200,
			PointerToRawData: uint32(0x400 + 0x200*i),
			Characteristics:  pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
		}
		copy(row.Name[:], name)
		binary.Write(&b, le, row)
	}
	b.Write(make([]byte, 0x600-b.Len()))
	b.WriteString(SBAT)
	b.Write(make([]byte, 0x800-b.Len()))
	return b.Bytes()
}

// Kernel returns a PE file of another size.
func Kernel(machine, dllFlags uint16) []byte {
	return append(PE(machine, dllFlags), make([]byte, 1001)...)
}
