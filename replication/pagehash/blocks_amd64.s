#include "textflag.h"

// K of FIPS 180-4, 4.2.2.
DATA ·k+0x00(SB)/4, $0x428a2f98
DATA ·k+0x04(SB)/4, $0x71374491
DATA ·k+0x08(SB)/4, $0xb5c0fbcf
DATA ·k+0x0c(SB)/4, $0xe9b5dba5
DATA ·k+0x10(SB)/4, $0x3956c25b
DATA ·k+0x14(SB)/4, $0x59f111f1
DATA ·k+0x18(SB)/4, $0x923f82a4
DATA ·k+0x1c(SB)/4, $0xab1c5ed5
DATA ·k+0x20(SB)/4, $0xd807aa98
DATA ·k+0x24(SB)/4, $0x12835b01
DATA ·k+0x28(SB)/4, $0x243185be
DATA ·k+0x2c(SB)/4, $0x550c7dc3
DATA ·k+0x30(SB)/4, $0x72be5d74
DATA ·k+0x34(SB)/4, $0x80deb1fe
DATA ·k+0x38(SB)/4, $0x9bdc06a7
DATA ·k+0x3c(SB)/4, $0xc19bf174
DATA ·k+0x40(SB)/4, $0xe49b69c1
DATA ·k+0x44(SB)/4, $0xefbe4786
DATA ·k+0x48(SB)/4, $0x0fc19dc6
DATA ·k+0x4c(SB)/4, $0x240ca1cc
DATA ·k+0x50(SB)/4, $0x2de92c6f
DATA ·k+0x54(SB)/4, $0x4a7484aa
DATA ·k+0x58(SB)/4, $0x5cb0a9dc
DATA ·k+0x5c(SB)/4, $0x76f988da
DATA ·k+0x60(SB)/4, $0x983e5152
DATA ·k+0x64(SB)/4, $0xa831c66d
DATA ·k+0x68(SB)/4, $0xb00327c8
DATA ·k+0x6c(SB)/4, $0xbf597fc7
DATA ·k+0x70(SB)/4, $0xc6e00bf3
DATA ·k+0x74(SB)/4, $0xd5a79147
DATA ·k+0x78(SB)/4, $0x06ca6351
DATA ·k+0x7c(SB)/4, $0x14292967
DATA ·k+0x80(SB)/4, $0x27b70a85
DATA ·k+0x84(SB)/4, $0x2e1b2138
DATA ·k+0x88(SB)/4, $0x4d2c6dfc
DATA ·k+0x8c(SB)/4, $0x53380d13
DATA ·k+0x90(SB)/4, $0x650a7354
DATA ·k+0x94(SB)/4, $0x766a0abb
DATA ·k+0x98(SB)/4, $0x81c2c92e
DATA ·k+0x9c(SB)/4, $0x92722c85
DATA ·k+0xa0(SB)/4, $0xa2bfe8a1
DATA ·k+0xa4(SB)/4, $0xa81a664b
DATA ·k+0xa8(SB)/4, $0xc24b8b70
DATA ·k+0xac(SB)/4, $0xc76c51a3
DATA ·k+0xb0(SB)/4, $0xd192e819
DATA ·k+0xb4(SB)/4, $0xd6990624
DATA ·k+0xb8(SB)/4, $0xf40e3585
DATA ·k+0xbc(SB)/4, $0x106aa070
DATA ·k+0xc0(SB)/4, $0x19a4c116
DATA ·k+0xc4(SB)/4, $0x1e376c08
DATA ·k+0xc8(SB)/4, $0x2748774c
DATA ·k+0xcc(SB)/4, $0x34b0bcb5
DATA ·k+0xd0(SB)/4, $0x391c0cb3
DATA ·k+0xd4(SB)/4, $0x4ed8aa4a
DATA ·k+0xd8(SB)/4, $0x5b9cca4f
DATA ·k+0xdc(SB)/4, $0x682e6ff3
DATA ·k+0xe0(SB)/4, $0x748f82ee
DATA ·k+0xe4(SB)/4, $0x78a5636f
DATA ·k+0xe8(SB)/4, $0x84c87814
DATA ·k+0xec(SB)/4, $0x8cc70208
DATA ·k+0xf0(SB)/4, $0x90befffa
DATA ·k+0xf4(SB)/4, $0xa4506ceb
DATA ·k+0xf8(SB)/4, $0xbef9a3f7
DATA ·k+0xfc(SB)/4, $0xc67178f2
GLOBL ·k(SB), RODATA|NOPTR, $256

// Words of a message are big-endian.
DATA ·swap+0x00(SB)/8, $0x0405060700010203
DATA ·swap+0x08(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·swap(SB), RODATA|NOPTR, $16

// Registers. Of the first message: X1 is A B E F, X2 C D G H, X3 to X6 are the last 16 words. Of the second: X7, X8, and X9 to X12. X0 is what SHA256RNDS2 takes; X13 is free, X14 and X15 hold the later half of X0.

// LOAD makes four words of the message at off.
#define LOAD(p, off, t) \
	VMOVDQU off(p), t; \
	VPSHUFB ·swap(SB), t, t

// HALF is rounds 4i and 4i+1, with words t; the words of the next two go to rest.
#define HALF(i, s0, s1, t, rest) \
	VPADDD i*16(AX), t, X0; \
	SHA256RNDS2 X0, s0, s1; \
	VPSHUFD $0x0e, X0, rest

// REST is rounds 4i+2 and 4i+3.
#define REST(s0, s1, rest) \
	VMOVDQA rest, X0; \
	SHA256RNDS2 X0, s1, s0

// NEXT makes the words of the next four rounds of next, which SHA256MSG1 has been at, from those of these rounds and of the four before.
#define NEXT(before, now, next) \
	VPALIGNR $4, before, now, X13; \
	PADDD X13, next; \
	SHA256MSG2 now, next

// FIRST is four rounds of both messages with words that were just loaded, and, after the first such, MID prepares those before them.
#define FOUR(i, a, b) \
	HALF(i, X1, X2, a, X14); \
	HALF(i, X7, X8, b, X15); \
	REST(X1, X2, X14); \
	REST(X7, X8, X15)

#define FOURNEXT(i, a0, a1, a2, b0, b1, b2) \
	HALF(i, X1, X2, a1, X14); \
	HALF(i, X7, X8, b1, X15); \
	NEXT(a0, a1, a2); \
	REST(X1, X2, X14); \
	NEXT(b0, b1, b2); \
	REST(X7, X8, X15)

#define PREPARE(a0, a1, b0, b1) \
	SHA256MSG1 a1, a0; \
	SHA256MSG1 b1, b0

// func blocks(a, b *state, p, q *byte, n uint64)
TEXT ·blocks(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ p+16(FP), R8
	MOVQ q+24(FP), R9
	MOVQ n+32(FP), CX
	LEAQ ·k(SB), AX
	VMOVDQU 0(DI), X1
	VMOVDQU 16(DI), X2
	VMOVDQU 0(SI), X7
	VMOVDQU 16(SI), X8

loop:
	LOAD(R8, 0, X3)
	LOAD(R9, 0, X9)
	FOUR(0, X3, X9)
	LOAD(R8, 16, X4)
	LOAD(R9, 16, X10)
	FOUR(1, X4, X10)
	PREPARE(X3, X4, X9, X10)
	LOAD(R8, 32, X5)
	LOAD(R9, 32, X11)
	FOUR(2, X5, X11)
	PREPARE(X4, X5, X10, X11)
	LOAD(R8, 48, X6)
	LOAD(R9, 48, X12)
	FOURNEXT(3, X5, X6, X3, X11, X12, X9)
	PREPARE(X5, X6, X11, X12)
	FOURNEXT(4, X6, X3, X4, X12, X9, X10)
	PREPARE(X6, X3, X12, X9)
	FOURNEXT(5, X3, X4, X5, X9, X10, X11)
	PREPARE(X3, X4, X9, X10)
	FOURNEXT(6, X4, X5, X6, X10, X11, X12)
	PREPARE(X4, X5, X10, X11)
	FOURNEXT(7, X5, X6, X3, X11, X12, X9)
	PREPARE(X5, X6, X11, X12)
	FOURNEXT(8, X6, X3, X4, X12, X9, X10)
	PREPARE(X6, X3, X12, X9)
	FOURNEXT(9, X3, X4, X5, X9, X10, X11)
	PREPARE(X3, X4, X9, X10)
	FOURNEXT(10, X4, X5, X6, X10, X11, X12)
	PREPARE(X4, X5, X10, X11)
	FOURNEXT(11, X5, X6, X3, X11, X12, X9)
	PREPARE(X5, X6, X11, X12)
	FOURNEXT(12, X6, X3, X4, X12, X9, X10)
	PREPARE(X6, X3, X12, X9)
	FOURNEXT(13, X3, X4, X5, X9, X10, X11)
	FOURNEXT(14, X4, X5, X6, X10, X11, X12)
	FOUR(15, X6, X12)

	VPADDD 0(DI), X1, X1
	VPADDD 16(DI), X2, X2
	VPADDD 0(SI), X7, X7
	VPADDD 16(SI), X8, X8
	VMOVDQU X1, 0(DI)
	VMOVDQU X2, 16(DI)
	VMOVDQU X7, 0(SI)
	VMOVDQU X8, 16(SI)
	ADDQ $64, R8
	ADDQ $64, R9
	DECQ CX
	JNZ loop
	RET

// func hasSHA() bool
TEXT ·hasSHA(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JB none
	MOVL $7, AX
	XORL CX, CX
	CPUID
	SHRL $29, BX
	ANDL $1, BX
	MOVB BX, ret+0(FP)
none:
	RET
