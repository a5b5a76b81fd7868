//! Sec-WebSocket-Extensions (RFC 6455 §9.1): the list, its extensions and their parameters.
//!
//! In:  the values of the header fields of that name, in the order sent.
//! Out: the extensions in order; or the fault, where one byte does not fit the grammar.
//!
//! What an extension or a parameter means is not known here.

use std::borrow::Cow;

/// One member of the list: an offer in a request, a choice in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'h> {
    /// A token.
    pub name: &'h str,
    /// In the order sent; repeated ones are all there.
    pub parameters: Vec<Parameter<'h>>,
}

/// One parameter of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter<'h> {
    /// A token.
    pub name: &'h str,
    /// A token too, whether it was quoted or not.
    pub value: Option<Cow<'h, str>>,
}

/// The header does not fit its grammar: the handshake fails (RFC 6455 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions is malformed")]
pub struct Malformed;

/// Reads all header fields of the name as the one list that they are (RFC 6455 §9.1, RFC 9110 §5.3).
///
/// Empty members of the list are skipped (RFC 9110 §5.6.1.2); so is a field that is empty.
pub fn parse<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Result<Vec<Extension<'h>>, Malformed> {
    let mut extensions = Vec::new();
    for value in values {
        let text = str::from_utf8(value).map_err(|_| Malformed)?;
        let mut reader = Reader { rest: text };
        loop {
            reader.skip_space();
            if reader.take(',') {
                continue;
            }
            if reader.rest.is_empty() {
                break;
            }
            extensions.push(reader.extension()?);
            reader.skip_space();
            if !reader.rest.is_empty() && !reader.take(',') {
                return Err(Malformed);
            }
        }
    }
    Ok(extensions)
}

struct Reader<'h> {
    rest: &'h str,
}

impl<'h> Reader<'h> {
    fn extension(&mut self) -> Result<Extension<'h>, Malformed> {
        let mut extension = Extension { name: self.token()?, parameters: Vec::new() };
        loop {
            self.skip_space();
            if !self.take(';') {
                return Ok(extension);
            }
            self.skip_space();
            extension.parameters.push(self.parameter()?);
        }
    }

    fn parameter(&mut self) -> Result<Parameter<'h>, Malformed> {
        let name = self.token()?;
        self.skip_space();
        if !self.take('=') {
            return Ok(Parameter { name, value: None });
        }
        self.skip_space();
        let value = if self.take('"') { self.quoted()? } else { Cow::Borrowed(self.token()?) };
        Ok(Parameter { name, value: Some(value) })
    }

    fn token(&mut self) -> Result<&'h str, Malformed> {
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// The rest of a quoted string. Unescaped, it is a token (RFC 6455 §9.1).
    fn quoted(&mut self) -> Result<Cow<'h, str>, Malformed> {
        let plain_end = self.rest.find(['"', '\\']).ok_or(Malformed)?;
        let mut value = Cow::Borrowed(&self.rest[..plain_end]);
        let mut characters = self.rest[plain_end..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[plain_end + at + 1..];
                    let is_token = !value.is_empty() && value.bytes().all(is_token_byte);
                    return if is_token { Ok(value) } else { Err(Malformed) };
                }
                '\\' => value.to_mut().push(characters.next().ok_or(Malformed)?.1),
                other => value.to_mut().push(other),
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list, written out again in one form.
    fn read(values: &[&str]) -> Result<String, Malformed> {
        let extensions = parse(values.iter().map(|value| value.as_bytes()))?;
        let parameter = |parameter: &Parameter<'_>| match &parameter.value {
            Some(value) => format!(";{}={value}", parameter.name),
            None => format!(";{}", parameter.name),
        };
        let extension = |extension: &Extension<'_>| {
            extension.name.to_owned() + &extension.parameters.iter().map(parameter).collect::<String>()
        };
        Ok(extensions.iter().map(extension).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn extensions_and_parameters_keep_their_order_over_several_fields() {
        assert_eq!(read(&["foo", "bar; baz=2 , foo;a;b"]).unwrap(), "foo,bar;baz=2,foo;a;b");
        assert_eq!(read(&["a ; b = c\t;d"]).unwrap(), "a;b=c;d");
    }

    #[test]
    fn a_quoted_value_is_the_token_in_it() {
        assert_eq!(read(&["a;b=\"10\""]).unwrap(), "a;b=10");
        assert_eq!(read(&["a;b=\"1\\0\";c, d"]).unwrap(), "a;b=10;c,d");
    }

    #[test]
    fn empty_members_are_skipped() {
        assert_eq!(read(&[]).unwrap(), "");
        assert_eq!(read(&[""]).unwrap(), "");
        assert_eq!(read(&[" , a,,b ,"]).unwrap(), "a,b");
    }

    #[test]
    fn whatever_does_not_fit_the_grammar_is_refused() {
        let wrong = [
            "a b",
            "a;",
            "a; ;b",
            "a;=1",
            "a;b=",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"x y\"",
            "a;b=\"x",
            "a;b=\"x\\",
            "a;b=c d",
            "a;b=\"c\"d",
            "=a",
            "a=b",
            "a/b",
            "a;b=@",
            "a;b==c",
            ";a",
            "a;b=\"c,d\"",
            "\u{e9}",
        ];
        for text in wrong {
            assert_eq!(read(&[text]), Err(Malformed), "{text}");
        }
        assert_eq!(parse([&b"a\xff"[..]]), Err(Malformed));
    }
}
