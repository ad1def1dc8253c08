"""Plans of contrapuntal pieces: bar by bar, the harmony and what each voice does."""

# A plan is one line a bar: its chords, then what each voice does from the highest down.
#   S+n  the subject, n steps above the written one (I+n the subject upside down)
#   H+n,m its first half twice, at two heights: a sequence
#   e q s f  free notes: eighths, quarters, sixteenths, mixed; c a cadence's rhythm
#   b  the chords' basses; r rests; x a last long note
INVENTION_MAJOR = """
I V        ; S+0   ; r
I V        ; e     ; S+0
V>I V      ; S+4   ; e
V>I V      ; e     ; S+4
V>vi ii    ; H+5,1 ; e
V>V I      ; H+4,0 ; e
V>ii6 V7   ; c     ; b
V>I V      ; e     ; S+4
vi>i V     ; S-2   ; e
vi>i V     ; e     ; S-2
ii V       ; e     ; H+1,-3
I IV       ; e     ; H+0,-4
ii65 V     ; s     ; e
I IV       ; I+0   ; e
I IV       ; e     ; I+0
I V        ; S+0   ; e
I V        ; e     ; S+0
V7/IV IV   ; s     ; e
ii65 V7    ; c     ; b
I          ; x     ; x
"""
INVENTION_MINOR = """
i V        ; S+0   ; r
i V        ; e     ; S+0
i V        ; f     ; e
v>i V      ; S+4   ; e
v>i V      ; e     ; S+4
iv VII     ; H+3,6 ; e
III VI     ; H+2,5 ; e
III>ii6 V7 ; c     ; b
III>I V    ; e     ; S+2
III>I V    ; S+2   ; e
iv>i V     ; e     ; S-4
iv>i V     ; S-4   ; e
i iv       ; e     ; I+0
i iv       ; I+0   ; e
iiø65 V    ; s     ; e
i V        ; e     ; S+0
i V        ; S+0   ; e
V7/iv iv   ; s     ; e
i64 V7     ; c     ; b
i          ; x     ; x
"""
FUGUE_MAJOR = """
I V        ; r     ; S+0   ; r
V>I V      ; S+4   ; e     ; r
IV V       ; f     ; e     ; r
I V        ; f     ; e     ; S+0
vi ii      ; H+5,1 ; q     ; e
V I        ; H+4,0 ; q     ; e
vi>iiø65 V ; c     ; q     ; b
vi>i V     ; q     ; S+5   ; e
vi>i V     ; f     ; e     ; S-2
ii V       ; e     ; q     ; H+1,-3
I IV       ; e     ; q     ; H+0,-4
ii65 V     ; f     ; q     ; b
IV>I V     ; S+3   ; q     ; e
IV>I V     ; e     ; S+3   ; q
ii V7      ; e     ; f     ; b
I V        ; S+0   ; q     ; e
I V        ; e     ; q     ; S+0
I IV       ; I+0   ; e     ; q
V7/IV IV   ; e     ; q     ; b
ii65 V7    ; c     ; q     ; b
I          ; x     ; x     ; x
"""
FUGUE_MINOR = """
i V        ; r     ; S+0   ; r
v>i V      ; S+4   ; e     ; r
iv V       ; f     ; e     ; r
i V        ; f     ; e     ; S+0
iv VII     ; H+3,6 ; q     ; e
III VI     ; H+2,5 ; q     ; e
III>ii65 V ; c     ; q     ; b
III>I V    ; q     ; S+2   ; e
III>I V    ; f     ; e     ; S+2
iv VII     ; e     ; q     ; H-4,-1
III iiø65  ; e     ; q     ; e
iv>i V     ; S+3   ; q     ; e
iv>i V     ; e     ; S+3   ; q
iiø65 V    ; e     ; f     ; b
i V        ; S+0   ; q     ; e
i V        ; e     ; q     ; S+0
i iv       ; I+0   ; e     ; q
V7/iv iv   ; e     ; q     ; b
i64 V7     ; c     ; q     ; b
I          ; x     ; x     ; x
"""
