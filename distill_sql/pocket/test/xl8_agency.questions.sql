-- Just the in-house linguists, no freelancers: what are they called?
SELECT nm FROM Ling WHERE is_staff = 1;
-- how many dormant accounts are we still carrying on the books? Those flagged I.
SELECT count(*) FROM Cust WHERE Stat = 'I';
-- Pair up every mentee with the person mentoring them; mentee's name goes first.
SELECT a.nm, b.nm FROM Ling AS a JOIN Ling AS b ON a.mentor = b.ling_id;
-- Who is looking after more than one mentee?
SELECT b.nm FROM Ling AS a JOIN Ling AS b ON a.mentor = b.ling_id GROUP BY b.ling_id HAVING count(*) > 1;
-- Some deliveries missed their deadline. By how many days, project code by project code?
SELECT PrjCd, julianday(dt_dlvd) - julianday(dt_due) FROM Prj WHERE dt_dlvd > dt_due;
-- Of the projects we did hand over, what percentage went out late? One decimal is enough.
SELECT round(100.0 * sum(dt_dlvd > dt_due) / count(*), 1) FROM Prj WHERE dt_dlvd IS NOT NULL;
-- Any projects not handed over yet? Codes will do.
SELECT PrjCd FROM Prj WHERE dt_dlvd IS NULL;
-- I'd like our 2023 invoicing month by month: the month written as 2023-04 and the net sum.
SELECT strftime('%Y-%m', dt_inv), sum(amt_net) FROM Inv WHERE dt_inv LIKE '2023-%' GROUP BY strftime('%Y-%m', dt_inv);
-- Open invoices, meaning nobody has paid them. I need the number and the gross amount, VAT on top, rounded to cents.
SELECT inv_no, round(amt_net * (1 + vat_pct / 100), 2) FROM Inv WHERE dt_paid IS NULL;
-- Are there clients who never sent us a single project? Name them.
SELECT c.cust_nm FROM Cust AS c LEFT JOIN Prj AS p ON p.cust_no = c.cust_no WHERE p.PrjCd IS NULL;
-- Biggest translation job (TRA) we ever took on: which project was it for, and how many words was the job?
SELECT PrjCd, wds FROM Job WHERE task = 'TRA' ORDER BY wds DESC LIMIT 1;
-- Once an invoice is out, how many days pass on average until the money arrives?
SELECT avg(julianday(dt_paid) - julianday(dt_inv)) FROM Inv WHERE dt_paid IS NOT NULL;
-- language combinations with more than eight TRA jobs: from, into, how often
SELECT src, tgt, count(*) FROM Job WHERE task = 'TRA' GROUP BY src, tgt HAVING count(*) > 8;
-- We like people who can wear both hats. Whose names appear on TRA as well as on REV jobs?
SELECT l.nm FROM Ling AS l WHERE EXISTS (SELECT 1 FROM Job AS j WHERE j.ling_id = l.ling_id AND j.task = 'TRA') AND EXISTS (SELECT 1 FROM Job AS k WHERE k.ling_id = l.ling_id AND k.task = 'REV');
-- Names of linguists whose work has been scored at least five times and averages under 72 points.
SELECT l.nm FROM qc JOIN Job AS j ON j.job_no = qc.job_no JOIN Ling AS l ON l.ling_id = j.ling_id GROUP BY l.ling_id HAVING count(*) >= 5 AND avg(qc.pts) < 72;
-- How do the in-house checkers compare? For every person who gives scores, the name and the mean of the points they gave.
SELECT l.nm, avg(q.pts) FROM qc AS q JOIN Ling AS l ON l.ling_id = q.qc_by GROUP BY l.ling_id;
-- What do our native speakers of Norwegian charge per word? Show them with their rates.
SELECT nm, rate_wd FROM Ling WHERE nat_lang = 'no';
-- Lowest and highest word rate a freelancer asks for.
SELECT min(rate_wd), max(rate_wd) FROM Ling WHERE is_staff = 0;
-- Work out what each proofreading job cost us, i.e. words times the linguist's rate. Job number and cost to three decimals.
SELECT j.job_no, round(j.wds * l.rate_wd, 3) FROM Job AS j JOIN Ling AS l ON l.ling_id = j.ling_id WHERE j.task = 'PRF';
-- Headcount of customers from Germany or Austria?
SELECT count(*) FROM Cust WHERE ctry_cd IN ('DE', 'AT');
-- Which customers marked at least two of their projects as high priority?
SELECT c.cust_nm FROM Cust AS c JOIN Prj AS p ON p.cust_no = c.cust_no WHERE p.prio = 'H' GROUP BY c.cust_no HAVING count(*) >= 2;
-- Who has brought in the most money, counting net invoice amounts? Customer name only.
SELECT c.cust_nm FROM Cust AS c JOIN Prj AS p ON p.cust_no = c.cust_no JOIN Inv AS i ON i.prj = p.PrjCd GROUP BY c.cust_no ORDER BY sum(i.amt_net) DESC LIMIT 1;
-- Per sector, tell me how many active clients there are and the average of the discounts entered for them.
SELECT sect, count(*), avg(disc_pct) FROM Cust WHERE Stat = 'A' GROUP BY sect;
-- Folks on our list who were never booked for any job?
SELECT l.nm FROM Ling AS l WHERE NOT EXISTS (SELECT 1 FROM Job AS j WHERE j.ling_id = l.ling_id);
-- Projects that got proofread although nobody revised them. Codes, each once.
SELECT PrjCd FROM Job WHERE task = 'PRF' EXCEPT SELECT PrjCd FROM Job WHERE task = 'REV';
-- Split the projects by lead time between receipt and due date. Call up to 14 days 'short' and everything above 'long', and put the count beside each word.
SELECT CASE WHEN julianday(dt_due) - julianday(dt_rcvd) <= 14 THEN 'short' ELSE 'long' END, count(*) FROM Prj GROUP BY 1;
-- Is there any project title that four or more different customers have used?
SELECT Ttl FROM Prj GROUP BY Ttl HAVING count(DISTINCT cust_no) >= 4;
-- Who charges more per word than their own mentor does?
SELECT a.nm FROM Ling AS a JOIN Ling AS b ON a.mentor = b.ling_id WHERE a.rate_wd > b.rate_wd;
-- term errors – how often did a checker write exactly that as the remark?
SELECT count(*) FROM qc WHERE rmk = 'term errors';
-- For some jobs nobody logged the hours. Which job numbers?
SELECT job_no FROM Job WHERE "hrs spent" IS NULL;
-- From 1 March to 30 June 2023, both days included: number of invoices and their net total.
SELECT count(*), sum(amt_net) FROM Inv WHERE dt_inv BETWEEN '2023-03-01' AND '2023-06-30';
-- Top three by volume translated (TRA), names and word totals please, largest total on top.
SELECT l.nm, sum(j.wds) FROM Job AS j JOIN Ling AS l ON l.ling_id = j.ling_id WHERE j.task = 'TRA' GROUP BY l.ling_id ORDER BY sum(j.wds) DESC LIMIT 3;
-- Can you give me only the first names of the staff linguists? First name is whatever comes before the blank.
SELECT substr(nm, 1, instr(nm, ' ') - 1) FROM Ling WHERE is_staff = 1;
-- Customers nobody negotiated a discount with, where the field is simply empty.
SELECT cust_nm FROM Cust WHERE disc_pct IS NULL;
-- Which invoice carries the largest VAT amount in money? Its number.
SELECT inv_no FROM Inv ORDER BY amt_net * vat_pct DESC LIMIT 1;
-- Into how many jobs, at most, was any one project cut?
SELECT max(n) FROM (SELECT count(*) AS n FROM Job GROUP BY PrjCd);
-- Among the revision jobs, the average speed in words per hour: all their words over all their hours.
SELECT sum(wds) / sum("hrs spent") FROM Job WHERE task = 'REV';
