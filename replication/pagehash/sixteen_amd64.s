#include "textflag.h"

// Words of sixteen messages are big-endian.
DATA ·swaps+0x00(SB)/8, $0x0405060700010203
DATA ·swaps+0x08(SB)/8, $0x0c0d0e0f08090a0b
DATA ·swaps+0x10(SB)/8, $0x0405060700010203
DATA ·swaps+0x18(SB)/8, $0x0c0d0e0f08090a0b
DATA ·swaps+0x20(SB)/8, $0x0405060700010203
DATA ·swaps+0x28(SB)/8, $0x0c0d0e0f08090a0b
DATA ·swaps+0x30(SB)/8, $0x0405060700010203
DATA ·swaps+0x38(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·swaps(SB), RODATA|NOPTR, $64

// Registers. Z0 to Z7 are a to h of sixteen messages, one in each lane; Z16 to Z31 are the last 16 words of theirs; Z8 to Z14 are free, Z15 is what swaps bytes. SI are the messages' addresses, DX is how far we are.

// PART makes t of 16 bytes, at off, of the messages l, l+4, l+8 and l+12.
#define PART(l, off, x, t) \
	MOVQ (l*8)(SI), R8; \
	MOVQ (l*8+32)(SI), R9; \
	MOVQ (l*8+64)(SI), R10; \
	MOVQ (l*8+96)(SI), R11; \
	VMOVDQU off(R8)(DX*1), x; \
	VINSERTI32X4 $1, off(R9)(DX*1), t, t; \
	VINSERTI32X4 $2, off(R10)(DX*1), t, t; \
	VINSERTI32X4 $3, off(R11)(DX*1), t, t

// LOAD makes four words of all messages, in w0 to w3: 4x4 words are transposed in each quarter of the registers.
#define LOAD(off, w0, w1, w2, w3) \
	PART(0, off, X8, Z8); \
	PART(1, off, X9, Z9); \
	PART(2, off, X10, Z10); \
	PART(3, off, X11, Z11); \
	VPUNPCKLDQ Z9, Z8, Z12; \
	VPUNPCKHDQ Z9, Z8, Z13; \
	VPUNPCKLDQ Z11, Z10, Z8; \
	VPUNPCKHDQ Z11, Z10, Z9; \
	VPUNPCKLQDQ Z8, Z12, w0; \
	VPUNPCKHQDQ Z8, Z12, w1; \
	VPUNPCKLQDQ Z9, Z13, w2; \
	VPUNPCKHQDQ Z9, Z13, w3; \
	VPSHUFB Z15, w0, w0; \
	VPSHUFB Z15, w1, w1; \
	VPSHUFB Z15, w2, w2; \
	VPSHUFB Z15, w3, w3

// ROUND is round i of 16, with words w. Of VPTERNLOGD, 0x96 is x^y^z, 0xca chooses y or z by x, 0xe8 is what most of them have.
#define ROUND(i, a, b, c, d, e, f, g, h, w) \
	VPADDD.BCST ((i)*4)(AX), w, Z8; \
	VPRORD $6, e, Z9; \
	VPRORD $11, e, Z10; \
	VPRORD $25, e, Z11; \
	VMOVDQA32 e, Z12; \
	VPADDD Z8, h, h; \
	VPTERNLOGD $0x96, Z11, Z10, Z9; \
	VPTERNLOGD $0xca, g, f, Z12; \
	VPADDD Z9, h, h; \
	VPADDD Z12, h, h; \
	VPRORD $2, a, Z9; \
	VPRORD $13, a, Z10; \
	VPRORD $22, a, Z11; \
	VMOVDQA32 a, Z12; \
	VPADDD h, d, d; \
	VPTERNLOGD $0x96, Z11, Z10, Z9; \
	VPTERNLOGD $0xe8, c, b, Z12; \
	VPADDD Z9, h, h; \
	VPADDD Z12, h, h

// NEXT makes the words of 16 rounds later of w0: w1, w9 and w14 are those of 1, 9 and 14 rounds later than w0.
#define NEXT(w0, w1, w9, w14) \
	VPRORD $7, w1, Z13; \
	VPRORD $18, w1, Z14; \
	VPADDD w9, w0, w0; \
	VPSRLD $3, w1, Z8; \
	VPTERNLOGD $0x96, Z8, Z14, Z13; \
	VPRORD $17, w14, Z14; \
	VPRORD $19, w14, Z8; \
	VPADDD Z13, w0, w0; \
	VPSRLD $10, w14, Z13; \
	VPTERNLOGD $0x96, Z8, Z14, Z13; \
	VPADDD Z13, w0, w0

// EIGHT is rounds i to i+7, after which a to h are in their places again.
#define EIGHT(i, w0, w1, w2, w3, w4, w5, w6, w7) \
	ROUND(i+0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, w0); \
	ROUND(i+1, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, w1); \
	ROUND(i+2, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, w2); \
	ROUND(i+3, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, w3); \
	ROUND(i+4, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, w4); \
	ROUND(i+5, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, w5); \
	ROUND(i+6, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, w6); \
	ROUND(i+7, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, w7)

// func sixteenBlocks(s *states, p *[16]*byte, n uint64)
TEXT ·sixteenBlocks(SB), NOSPLIT, $0-24
	MOVQ s+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ DX, DX
	VMOVDQU32 ·swaps(SB), Z15
	VMOVDQU32 0(DI), Z0
	VMOVDQU32 64(DI), Z1
	VMOVDQU32 128(DI), Z2
	VMOVDQU32 192(DI), Z3
	VMOVDQU32 256(DI), Z4
	VMOVDQU32 320(DI), Z5
	VMOVDQU32 384(DI), Z6
	VMOVDQU32 448(DI), Z7

loop:
	LOAD(0, Z16, Z17, Z18, Z19)
	LOAD(16, Z20, Z21, Z22, Z23)
	LOAD(32, Z24, Z25, Z26, Z27)
	LOAD(48, Z28, Z29, Z30, Z31)
	LEAQ ·k(SB), AX
	EIGHT(0, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	EIGHT(8, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	MOVQ $3, BX

rounds:
	ADDQ $64, AX
	NEXT(Z16, Z17, Z25, Z30)
	NEXT(Z17, Z18, Z26, Z31)
	NEXT(Z18, Z19, Z27, Z16)
	NEXT(Z19, Z20, Z28, Z17)
	NEXT(Z20, Z21, Z29, Z18)
	NEXT(Z21, Z22, Z30, Z19)
	NEXT(Z22, Z23, Z31, Z20)
	NEXT(Z23, Z24, Z16, Z21)
	EIGHT(0, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	NEXT(Z24, Z25, Z17, Z22)
	NEXT(Z25, Z26, Z18, Z23)
	NEXT(Z26, Z27, Z19, Z24)
	NEXT(Z27, Z28, Z20, Z25)
	NEXT(Z28, Z29, Z21, Z26)
	NEXT(Z29, Z30, Z22, Z27)
	NEXT(Z30, Z31, Z23, Z28)
	NEXT(Z31, Z16, Z24, Z29)
	EIGHT(8, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	DECQ BX
	JNZ rounds

	VPADDD 0(DI), Z0, Z0
	VPADDD 64(DI), Z1, Z1
	VPADDD 128(DI), Z2, Z2
	VPADDD 192(DI), Z3, Z3
	VPADDD 256(DI), Z4, Z4
	VPADDD 320(DI), Z5, Z5
	VPADDD 384(DI), Z6, Z6
	VPADDD 448(DI), Z7, Z7
	VMOVDQU32 Z0, 0(DI)
	VMOVDQU32 Z1, 64(DI)
	VMOVDQU32 Z2, 128(DI)
	VMOVDQU32 Z3, 192(DI)
	VMOVDQU32 Z4, 256(DI)
	VMOVDQU32 Z5, 320(DI)
	VMOVDQU32 Z6, 384(DI)
	VMOVDQU32 Z7, 448(DI)
	ADDQ $64, DX
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET
