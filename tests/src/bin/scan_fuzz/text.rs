//! Writes the text of headers and sources: directives in all their spellings, conditions, macros, and noise.
//!
//! What is left in live groups is valid C and C++ (declarations that may be repeated), so that objects can be compared.

use crate::expression::{self, Use};
use crate::random::Random;
use crate::world::{HEADERS, LEVELS};
use std::path::Path;

/// One file in the making.
pub(crate) struct Writer<'a> {
    pub(crate) random: &'a mut Random,
    root: &'a Path,
    /// Includes go to headers from this index on.
    floor: usize,
    text: String,
    serial: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(random: &'a mut Random, root: &'a Path, floor: usize) -> Self {
        Self { random, root, floor, text: String::new(), serial: 0 }
    }

    /// A header, guarded in one of the usual ways or not at all.
    pub(crate) fn header(mut self) -> Vec<u8> {
        let guard = format!("GUARD_{}_{}", self.floor, self.random.below(3));
        if self.random.chance(10) {
            self.text += "/* a comment\n   before the guard */\n";
        }
        let style = self.random.below(10);
        match style {
            0..3 => self.text += &format!("#ifndef {guard}\n#define {guard}\n"),
            3 => self.text += &format!("#if !defined({guard})\n#define {guard} 1\n"),
            4 => self.text += &format!("#if !defined {guard} // first\n# define {guard}\n"),
            5 | 6 => self.text += "#pragma once\n",
            7 => self.text += "_Pragma(\"once\")\n",
            _ => {}
        }
        let count = 1 + self.random.below(6);
        for _ in 0..count {
            self.item(2);
        }
        if style < 5 {
            self.text += "#endif\n";
            if self.random.chance(10) {
                self.declaration();
            }
        }
        self.finish()
    }

    /// A source: some macros, then includes and games.
    pub(crate) fn source(mut self, is_assembler: bool) -> Vec<u8> {
        if is_assembler {
            self.text += "# not a directive, it's a comment\n.set it, 1 # isn't /* one\n#define ASSEMBLER 1\n*/\n";
        }
        if self.random.chance(96) {
            self.prelude();
        }
        for _ in 0..self.random.below(4) {
            self.macro_game();
        }
        for _ in 0..2 + self.random.below(4) {
            self.include();
            self.item(3);
        }
        self.finish()
    }

    /// A header of nothing but the prelude.
    pub(crate) fn prelude_alone(mut self) -> Vec<u8> {
        self.prelude();
        self.finish()
    }

    /// Defines the macros that conditions call, unless a forced include has.
    fn prelude(&mut self) {
        let definitions =
            ["F0(x) (x)", "F1(x, y) ((x) == (y))", "F2(x, ...) F0(__VA_ARGS__)", "F3(x) M##x", "F4(x) F3(x)"];
        for definition in definitions {
            self.text += &format!("#ifndef {}\n#define {definition}\n#endif\n", &definition[..2]);
        }
    }

    /// The bytes, with the noise that concerns the file as a whole.
    fn finish(mut self) -> Vec<u8> {
        if self.random.chance(10) {
            while self.text.ends_with('\n') {
                self.text.pop();
            }
        }
        if self.random.chance(10) {
            self.text = self.text.replace('\n', "\r\n");
        }
        let mut bytes = self.text.into_bytes();
        if self.random.chance(4) {
            bytes.splice(0..0, *b"\xef\xbb\xbf");
        }
        bytes
    }

    /// One thing of any kind; conditions nest up to `depth`.
    fn item(&mut self, depth: usize) {
        match self.random.below(20) {
            0..4 => self.include(),
            4..9 if depth > 0 => self.condition(depth - 1),
            9..14 => self.macro_game(),
            14 if self.random.chance(40) => self.macro_pragmas(),
            14 => self.pragma(),
            15 => self.skipped_garbage(),
            16 => self.noise(),
            17 => self.lines(),
            _ => self.declaration(),
        }
    }

    fn directive(&mut self, name: &str, operand: &str) {
        let hash = match self.random.below(30) {
            0 => "%:",
            1 => "  # ",
            2 => "#\t",
            3 => "/* c */ # /* d\n */ ",
            4 => "#\\\n",
            5 => "\x0c#",
            6 => "#  /**/",
            _ => "#",
        };
        let name = match self.random.below(25) {
            0 => format!("{}\\\n{}", &name[..2], &name[2..]),
            1 => format!("{}\\ \n{}", &name[..1], &name[1..]),
            _ => name.to_owned(),
        };
        let space = match self.random.below(20) {
            0 => "\t",
            1 => " /* between */ ",
            2 => "\\\n ",
            3 if operand.starts_with(['<', '"']) => "",
            _ => " ",
        };
        let end = match self.random.below(30) {
            0 => " // end",
            1 => " /* end */",
            2 => "/* over\nlines */",
            3 => "  ",
            _ => "",
        };
        self.text += &format!("{hash}{name}{space}{operand}{end}\n");
    }

    /// The name of a header that this file may include.
    fn target(&mut self) -> &'static str {
        let floor = self.floor.min(HEADERS.len() - 1);
        let span = (HEADERS.len() - floor).min(6);
        HEADERS[floor + self.random.below(span)]
    }

    /// The operand of an include, written out.
    fn operand(&mut self) -> String {
        if self.floor >= HEADERS.len() {
            return format!("\"lv{}.h\"", self.random.below(LEVELS));
        }
        let name = self.target();
        let spelled = match self.random.below(14) {
            0 => format!("../base/{name}"),
            1 => format!("./{name}"),
            2 => format!("sub/../{name}"),
            3 => format!("{}/base/{name}", self.root.display()),
            4 => format!("up/{name}"),
            5 => format!(".//{name}"),
            _ => name.to_owned(),
        };
        if self.random.chance(45) { format!("<{spelled}>") } else { format!("\"{spelled}\"") }
    }

    /// An include that mostly succeeds.
    fn include(&mut self) {
        let is_source = self.floor == 0 && !self.random.chance(10);
        let directive = match self.random.below(16) {
            0 | 1 if !is_source => "include_next",
            2 => "import",
            _ => "include",
        };
        if self.random.chance(25) {
            if directive != "include_next" && self.random.chance(40) {
                self.blank_include(directive);
            } else {
                self.computed_include(directive);
            }
            return;
        }
        let operand = self.operand();
        let is_plain = HEADERS.contains(&operand.trim_matches(['<', '>', '"']));
        if is_plain && self.random.chance(75) && directive != "include_next" {
            self.directive(directive, &operand);
        } else {
            let test = if directive == "include_next" { "__has_include_next" } else { "__has_include" };
            self.directive("if", &format!("{test}({operand})"));
            self.directive(directive, &operand);
            self.text += "#endif\n";
        }
    }

    /// An include whose operand is a macro's expansion.
    fn computed_include(&mut self, directive: &str) {
        if self.floor >= HEADERS.len() {
            return self.declaration();
        }
        let name = self.target();
        let (definitions, operand) = match self.random.below(9) {
            0 => (format!("#undef P0\n#define P0 \"{name}\"\n"), "P0".to_owned()),
            1 => (format!("#undef P1\n#define P1 <{name}>\n"), "P1".to_owned()),
            2 => (format!("#undef P2\n#define P2(x) <x>\n#undef P3\n#define P3 P2({name})\n"), "P3".to_owned()),
            3 => ("#undef STR\n#define STR(x) STR_(x)\n#undef STR_\n#define STR_(x) #x\n".to_owned(), format!("STR({name})")),
            4 => (
                "#undef CAT\n#define CAT(a, b) CAT_(a, b)\n#undef CAT_\n#define CAT_(a, b) a##b\n#undef LV\n#define LV(n) <CAT(lv, n).h>\n"
                    .to_owned(),
                match self.random.below(4) {
                    0 => "LV(__INCLUDE_LEVEL__)".to_owned(),
                    1 => "LV(__COUNTER__)".to_owned(),
                    2 => format!("LV({})", self.random.below(LEVELS)),
                    _ => format!("LV(M{})", self.random.below(10)),
                },
            ),
            5 => (
                "#undef V\n#define V(a, ...) __VA_ARGS__\n#undef P4\n#define P4 V(\"none.h\", \"lv1.h\")\n".to_owned(),
                "P4".to_owned(),
            ),
            6 => (
                format!("#if !defined SELF_{0} && __has_include(__FILE__)\n#define SELF_{0}\n#define P5 __FILE__\n", self.floor),
                "P5\n#undef P5\n#endif".to_owned(),
            ),
            7 => (format!("#undef P6\n#define P6 {name}\n"), "<P6>".to_owned()),
            _ => ("#line 3\n#undef L_\n#define L_(n) <lv##n.h>\n#undef L\n#define L(n) L_(n)\n#line 4\n".to_owned(), "L(__LINE__)".to_owned()),
        };
        self.text += &definitions;
        if operand.starts_with("LV") || operand == "P3" || operand == "<P6>" {
            self.text += &format!("#if __has_include({operand})\n#{directive} {operand}\n#endif\n");
        } else {
            self.text += &format!("#{directive} {operand}\n");
        }
    }

    /// An include of a header whose name a macro makes of tokens among which others vanish, and leave blanks or don't.
    fn blank_include(&mut self, directive: &str) {
        let mut gap =
            || self.random.pick(&["", "", " ", "E_", " E_", "E_ ", " E_ E_", " F_()", "F_( E_) ", "H_(,)", " H_( , )"]);
        // A name and what follows it stay apart.
        let (first, second, third, fourth, outer) = (gap(), gap(), gap(), gap(), gap());
        let pieces = [
            format!("q/**/{first}({second}x/**/{third}){fourth}.h"),
            format!("q F_()({second}x {third}){fourth}.h"),
            format!("q({second}H_(x,){third}){fourth}.h"),
            format!("q({second}H_(,x) {third}){fourth}.h"),
            format!("q({second}I_(x) I_({third})){fourth}.h"),
            format!("q I_(({second}x {third})){fourth}.h"),
        ];
        let body = pieces[self.random.below(pieces.len())]
            .replace("/**/E_", " E_")
            .replace("/**/F_", " F_")
            .replace("/**/H_", " H_")
            .replace("/**/", "");
        let argument = self.random.pick(&["a", " a ", "E_ a", "a E_", "A_", "I_(a)", "I_( a E_)", "H_(a, )"]);
        let outer = outer.trim_start();
        self.text += &format!(
            "#undef E_\n#define E_\n#undef F_\n#define F_(x)\n#undef I_\n#define I_(x) x\n#undef H_\n#define H_(x, y) x##y\n\
             #undef A_\n#define A_ E_ a\n#undef N_\n#define N_(x) {body}\n#undef STR\n#define STR(x) STR_(x)\n#undef STR_\n#define STR_(x) #x\n\
             #if __has_include(STR({outer} N_({argument})))\n#{directive} STR({outer} N_({argument}))\n#endif\n"
        );
    }

    fn condition(&mut self, depth: usize) {
        let has = self.operand();
        match self.random.below(8) {
            0 => {
                let name = expression::macro_name(self.random, Use::Read);
                self.directive("ifdef", &name);
            }
            1 => {
                let name = expression::macro_name(self.random, Use::Read);
                self.directive("ifndef", &name);
            }
            _ => {
                let text = self.expression(3, &has);
                self.directive("if", &text);
            }
        }
        self.group(depth);
        for _ in 0..self.random.below(3) {
            match self.random.below(10) {
                0 if self.random.chance(15) => self.text += "#elifdef M3\n",
                1 if self.random.chance(15) => self.text += "#elifndef M4\n",
                _ => {
                    let text = self.expression(2, &has);
                    self.directive("elif", &text);
                }
            }
            self.group(depth);
        }
        if self.random.chance(50) {
            self.directive("else", "");
            self.group(depth);
        }
        self.directive("endif", "");
    }

    fn expression(&mut self, depth: usize, header: &str) -> String {
        expression::Writer { random: self.random, header, is_source: self.floor == 0 }.generate(depth)
    }

    fn group(&mut self, depth: usize) {
        for _ in 0..self.random.below(3) {
            self.item(depth);
        }
    }

    fn macro_game(&mut self) {
        let purpose = if self.random.chance(1) { Use::Read } else { Use::Write };
        let name = expression::macro_name(self.random, purpose);
        let value = expression::value(self.random);
        match self.random.below(12) {
            0..4 => self.text += &format!("#undef {name}\n#define {name} {value}\n"),
            4 => self.text += &format!("#undef {name}\n"),
            5 => self.text += &format!("#ifndef {name}\n#define {name} ({value})\n#endif\n"),
            6 => self.text += &format!("#undef F0\n#define F0(x) ((x) + {value})\n"),
            7 => self.text += "#undef F1\n#define F1(x, y) (x) < (y) || defined(M2)\n",
            8 => {
                self.text +=
                    &format!("#undef F2\n#define F2(x, ...) F0({})\n", self.random.pick(&["__VA_ARGS__", "x"]));
            }
            9 => self.text += "#undef F3\n#define F3(x) M##x\n#undef F4\n#define F4(x) F3(x)\n",
            10 => {
                let name = &name;
                let line = format!("{name} \\\n {value}");
                self.text += &format!("#undef {name}\n");
                self.directive("define", &line);
            }
            _ => {
                let names = ["M1", "M2", "F0", "P0", "STR"];
                let name = self.random.pick(&names);
                match self.random.below(3) {
                    0 => self.text += &format!("#pragma push_macro(\"{name}\")\n"),
                    1 => self.text += &format!("#pragma pop_macro(\"{name}\")\n"),
                    _ => {
                        self.text += &format!(
                            "_Pragma(\"push_macro(\\\"{name}\\\")\")\n#undef {name}\n_Pragma(\"pop_macro(\\\"{name}\\\")\")\n"
                        );
                    }
                }
            }
        }
    }

    fn pragma(&mut self) {
        let choices = [
            "#pragma GCC system_header",
            "#pragma once",
            "#pragma unknown words \"and text",
            "#ident \"text\"",
            "#pragma STDC FP_CONTRACT ON",
            "# 1 \"elsewhere/x.h\"",
            "# 2 \"elsewhere/x.h\" 3",
            "# 3 \"elsewhere/x.h\" 3 4",
            "#line 70 \"base/h1.h\"",
            "#pragma message(\"said\")",
            "#pragma",
            "#",
        ];
        let line = self.random.pick(&choices);
        self.text += line;
        self.text += "\n";
    }

    /// A group that is never live, with what would be wrong in a live one.
    fn skipped_garbage(&mut self) {
        let choices = [
            "don't \" balance\n#include \"missing.h\"\n",
            "#bogus directive\n#error dead\n#include <\n",
            "#if 1\n#elif garbage ( /\n#else garbage\n#endif garbage\n",
            "/* #endif */\n// \\\n#endif\n",
            "// open /*\n#else\n#undef M2\n#define M2 5\n/* */\n",
            "#else // open /*\n#undef M3\n#define M3 5\n/* */\n",
            "\"/*\" '\\'' \"\\\"\"\n#define M1 9\n",
            "#include\n#if\n#endif\n#ifdef\n#endif\n",
        ];
        let garbage = self.random.pick(&choices);
        let zero = self.random.pick(&["0", "defined(never)", "1 == 2", "0x0u", "!1"]);
        self.text += &format!("#if {zero}\n{garbage}#endif\n");
    }

    /// Text that a careless lexer takes for comments, strings or directives.
    fn noise(&mut self) {
        self.serial += 1;
        let name = format!("n{}_{}", self.floor, self.serial);
        let choices = [
            format!("extern const char {name}[sizeof(\"/* \\\" // \\\\\")];\n"),
            format!("extern int q{name}['\"' + '\\'']; // it's \" open\n"),
            "/* \"unbalanced ' */ // and \\\n#include \"missing.h\"\n".to_owned(),
            format!("extern int c{name} /* #include \"missing.h\"\n#include <missing.h>\n*/ ;\n"),
            "#define TEXT(x) #x\n".to_owned(),
            format!(
                "#ifdef __cplusplus\nextern const char r{name}[sizeof(R\"x(\n#include \"missing.h\"\n)\" /* )x\")];\n#endif\n"
            ),
            format!("#if defined __cplusplus && __cplusplus > 201402L\nextern int d{name}[1'0]; /* ' */\n#endif\n"),
            format!("extern int t{name}; // trailing backslash and blank \\ \n#include \"missing.h\"\n\n"),
            "#define include bogus\n#define if bogus\n#undef include\n#undef if\n".to_owned(),
        ];
        let text = &choices[self.random.below(choices.len())];
        self.text += text;
    }

    /// Text that shows where the compiler thinks that it is.
    fn lines(&mut self) {
        self.serial += 1;
        let (floor, serial) = (self.floor, self.serial);
        let choices = [
            "extern int line[];\n".to_owned(),
            format!("#if __COUNTER__ % 2\n#undef M5\n#define M5 {serial}\n#endif\n"),
            format!("#if __INCLUDE_LEVEL__ > {}\n#undef M6\n#define M6 {floor}\n#endif\n", self.random.below(4)),
            format!("#if __LINE__ % 2 == 0\n#undef M7\n#define M7 {serial}\n#endif\n"),
            format!(
                "#undef L8\n#define L8(x) (x + 2 * __LINE__)\n#if \\\nL8(\\\n__LINE__ /*\n*/ \\\n) % 3 == \\\n __LINE__ % 2\n#undef M8\n#define M8 {serial}\n#endif\n"
            ),
            format!("#line \\\n{} /*\n*/\n#if __LINE__ % 2\n#undef M9\n#define M9 {serial}\n#endif\n", floor + 1),
            format!(
                "#undef \\u00e9{floor}\n#define \u{e9}{floor} {serial}\n#if \\u00E9{floor} % 2\n#undef M3\n#define M3 {serial}\n#endif\n"
            ),
        ];
        let text = &choices[self.random.below(choices.len())];
        self.text += text;
    }

    /// Pragmas that macros make, or don't: what is pushed and popped so, and what stands between.
    fn macro_pragmas(&mut self) {
        self.serial += 1;
        let (name, value) = (self.random.pick(&["M1", "M2", "M3", "M7"]), self.serial % 3);
        let definitions = "#undef PR\n#undef PU\n#undef PO\n#undef PI\n#undef PD\n#undef PT\n#undef PL\n\
            #define PL PR(pop_macro(\"M2\"))\n#define PU(m) PR(push_macro(#m))\n#define PO(m) PR(pop_macro(#m))\n\
            #define PR(x) _Pragma(#x)\n#define PI(x) x\n#define PD(x)\n#define PT(x) x x\n";
        let pushes = [
            format!("PU({name})"),
            format!("PR(push_macro(\"{name}\"))"),
            format!("PI(PU({name}))"),
            format!("PT(PR(push_macro(\"{name}\")))"),
            format!("PR(/* ( */ push_macro \\\n(\"{name}\") // )\n)"),
            format!("PI(PU)({name})"),
            format!("PD(_Pragma(\"push_macro(\\\"{name}\\\")\"))"),
            format!("#pragma push_macro(\"{name}\")"),
            format!("PI(_Pragma(\"push_macro(\\\"{name}\\\")\"))"),
        ];
        let pops = [
            format!("PO({name})"),
            "PL".to_owned(),
            format!("PD(PO({name}))"),
            format!("PT(PO({name}))"),
            format!("PI(PI(PR(pop_macro(\"{name}\"))))"),
            format!("#pragma pop_macro(\"{name}\")"),
            format!("#ifdef M1\nPO({name})\n#endif"),
            format!("_Pragma(\"pop_macro(\\\"{name}\\\")\")"),
            "#ifdef PO\n#undef PO\n#define PO(m)\n#endif\nPO(M1)".to_owned(),
        ];
        let push = &pushes[self.random.below(pushes.len())];
        let pop = &pops[self.random.below(pops.len())];
        let target = match self.random.below(8) {
            0 => "#pragma GCC target(\"avx2\")\n#ifdef __AVX2__\n#undef M4\n#define M4 1\n#endif\n",
            1 => "PR(GCC  optimize(\"O2\"))\n#if __OPTIMIZE__ > 0\n#undef M5\n#define M5 2\n#endif\n",
            _ => "",
        };
        let prologue = if self.random.chance(25) { "" } else { definitions };
        self.text += &format!("{prologue}{push}\n#undef {name}\n#define {name} {value}\n{target}{pop}\n");
    }

    fn declaration(&mut self) {
        self.serial += 1;
        let (floor, serial) = (self.floor, self.serial);
        self.text += &format!("extern int v{floor}_{serial};\n");
    }
}
