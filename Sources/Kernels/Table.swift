// Fills the level's table. The only place where the level's name reaches a symbol.
import CShims

#if ISA_V2
@c(tk_fill_v2) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V3
@c(tk_fill_v3) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V4
@c(tk_fill_v4) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V4X
@c(tk_fill_v4x) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#else
@c(tk_fill_neon) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#endif

@inline(__always) func fillTable(_ table: UnsafeMutablePointer<tk_table>) {
  table.pointee.f16_to_f32 = { from, to, n in f16ToF32(from, to, n) }
  table.pointee.f32_to_f16 = { from, to, n in f32ToF16(from, to, n) }
  table.pointee.bf16_to_f32 = { from, to, n in bf16ToF32(from, to, n) }
  table.pointee.f32_to_bf16 = { from, to, n in f32ToBF16(from, to, n) }
}
