#include "textflag.h"

// What a sum so far is multiplied by where it is moved over bits that follow it: x^(bits+32) and x^(bits-32), modulo Castagnoli's polynomial, reflected.
DATA ·over2048+0x00(SB)/8, $0x0dcb17aa4
DATA ·over2048+0x08(SB)/8, $0x0b9e02b86
GLOBL ·over2048(SB), RODATA|NOPTR, $16
DATA ·over512+0x00(SB)/8, $0x0740eef02
DATA ·over512+0x08(SB)/8, $0x09e4addf8
GLOBL ·over512(SB), RODATA|NOPTR, $16

// MOVE makes sum, moved over what by says, and added to next, of it. t is free.
#define MOVE(sum, by, next, t) \
	VPCLMULQDQ $0x00, by, sum, t; \
	VPCLMULQDQ $0x11, by, sum, sum; \
	VPTERNLOGQ $0x96, next, t, sum

// func fold(state uint32, p *byte, n uint64) uint32
TEXT ·fold(SB), NOSPLIT, $64-28
	MOVL state+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX

	VBROADCASTI32X4 ·over2048(SB), Z8
	VBROADCASTI32X4 ·over512(SB), Z9
	VMOVD AX, X4
	VMOVDQU64 (SI), Z0
	VPXORQ Z4, Z0, Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	JMP next

loop:
	MOVE(Z0, Z8, (SI), Z4)
	MOVE(Z1, Z8, 64(SI), Z5)
	MOVE(Z2, Z8, 128(SI), Z6)
	MOVE(Z3, Z8, 192(SI), Z7)

next:
	ADDQ $256, SI
	SUBQ $256, CX
	JNZ  loop

	MOVE(Z0, Z9, Z1, Z4)
	MOVE(Z0, Z9, Z2, Z4)
	MOVE(Z0, Z9, Z3, Z4)

	// The state after these 64 bytes, from 0 on, is the one after all.
	VMOVDQU64 Z0, rest-64(SP)
	VZEROUPPER
	XORL   AX, AX
	CRC32Q rest-64(SP), AX
	CRC32Q rest-56(SP), AX
	CRC32Q rest-48(SP), AX
	CRC32Q rest-40(SP), AX
	CRC32Q rest-32(SP), AX
	CRC32Q rest-24(SP), AX
	CRC32Q rest-16(SP), AX
	CRC32Q rest-8(SP), AX
	MOVL   AX, ret+24(FP)
	RET
