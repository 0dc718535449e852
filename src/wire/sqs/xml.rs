//! Writing XML: elements, escaped text, SQS's two envelopes (WIRE 1.2). XML is never read here.

use uuid::Uuid;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// Builds one document.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// Writes an element around what `content` writes.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.open(name, "");
        content(self);
        self.close(name);
    }

    /// Writes an element with text only.
    pub fn text_element(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.text(text));
    }

    /// Writes text, escaped so that any XML reader gives back what went in, carriage returns included.
    pub fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\r']) {
            self.out.push_str(&rest[..at]);
            self.out.push_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#xD;",
            });
            rest = &rest[at + 1..];
        }
        self.out.push_str(rest);
    }

    fn open(&mut self, name: &str, attributes: &str) {
        for part in ["<", name, attributes, ">"] {
            self.out.push_str(part);
        }
    }

    fn close(&mut self, name: &str) {
        for part in ["</", name, ">"] {
            self.out.push_str(part);
        }
    }
}

/// The answer of an operation; `result` is left out for those that answer nothing.
pub fn answer(
    operation: &str,
    result: Option<impl FnOnce(&mut Writer)>,
    request_id: Uuid,
) -> String {
    document(&format!("{operation}Response"), |xml| {
        if let Some(result) = result {
            xml.element(&format!("{operation}Result"), result);
        }
        xml.element("ResponseMetadata", |xml| {
            xml.text_element("RequestId", &request_id.to_string());
        });
    })
}

/// The answer that tells of a fault.
pub fn error(party: &str, code: &str, message: &str, request_id: Uuid) -> String {
    document("ErrorResponse", |xml| {
        xml.element("Error", |xml| {
            xml.text_element("Type", party);
            xml.text_element("Code", code);
            xml.text_element("Message", message);
            xml.out.push_str("<Detail/>");
        });
        xml.text_element("RequestId", &request_id.to_string());
    })
}

fn document(root: &str, content: impl FnOnce(&mut Writer)) -> String {
    let mut xml = Writer {
        out: String::from("<?xml version=\"1.0\"?>"),
    };
    xml.open(root, &format!(" xmlns=\"{NAMESPACE}\""));
    content(&mut xml);
    xml.close(root);
    xml.out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let check = |text: &str, expect: &str| {
            let mut xml = Writer::default();
            xml.text(text);
            assert_eq!(xml.out, expect);
        };
        check("", "");
        check("é😀 plain\n\t'", "é😀 plain\n\t'");
        check("<a b=\"c\">&\r\n", "&lt;a b=&quot;c&quot;&gt;&amp;&#xD;\n");
        check("]]>", "]]&gt;");
    }

    #[test]
    fn documents_have_awss_shape() {
        let id = Uuid::nil();
        let metadata = format!("<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>");
        let expect = format!(
            "<?xml version=\"1.0\"?><XResponse xmlns=\"{NAMESPACE}\"><XResult><A>1</A></XResult>{metadata}</XResponse>"
        );
        let result = Some(|xml: &mut Writer| xml.text_element("A", "1"));
        assert_eq!(answer("X", result, id), expect);
        let expect = format!(
            "<?xml version=\"1.0\"?><XResponse xmlns=\"{NAMESPACE}\">{metadata}</XResponse>"
        );
        assert_eq!(answer("X", None::<fn(&mut Writer)>, id), expect);
        let found = error("Sender", "C", "<m>", id);
        assert!(found.ends_with(&format!(
            "<Error><Type>Sender</Type><Code>C</Code><Message>&lt;m&gt;</Message><Detail/></Error><RequestId>{id}</RequestId></ErrorResponse>"
        )));
    }
}
