-- Which of our growers are in Kenya?
SELECT farm_name FROM farm WHERE country = 'Kenya';
-- How many decaffeinated coffees do we offer?
SELECT count(*) FROM bean WHERE decaf = 1;
-- At what altitude do our farms lie on average?
SELECT avg(altitude_m) FROM farm;
-- What treatments do the green coffees go through? One line per treatment.
SELECT DISTINCT process FROM bean;
-- Which coffees still lack a tasting grade?
SELECT title FROM bean WHERE cup_score IS NULL;
-- What is the lowest price per kilo on our list?
SELECT min(price_kg) FROM bean;
-- I need the name and the number of seats of each coffee shop in the Old Town district.
SELECT cafe_name, seats FROM cafe WHERE district = 'Old Town';
-- What is the priciest coffee we sell?
SELECT title FROM bean ORDER BY price_kg DESC LIMIT 1;
-- How many cafes do we serve in every part of town?
SELECT district, count(*) FROM cafe GROUP BY district;
-- For every degree of roasting, how many kilograms were delivered in total?
SELECT roast, sum(kilograms) FROM delivery GROUP BY roast;
-- How many deliveries have gone to customers in the Harbour district?
SELECT count(*) FROM delivery AS T1 JOIN cafe AS T2 ON T1.cafe_id = T2.cafe_id WHERE T2.district = 'Harbour';
-- Which beans are grown in Ethiopia?
SELECT T1.title FROM bean AS T1 JOIN farm AS T2 ON T1.farm_id = T2.farm_id WHERE T2.country = 'Ethiopia';
-- Which growers have a certificate and lie above 1500 metres?
SELECT farm_name FROM farm WHERE certified = 1 AND altitude_m > 1500;
-- Order the coffee shops by size, largest first; I want name and seats.
SELECT cafe_name, seats FROM cafe ORDER BY seats DESC;
-- From which countries do we have more than six farms?
SELECT country FROM farm GROUP BY country HAVING count(*) > 6;
-- How many kilograms of dark roast did we ship?
SELECT sum(kilograms) FROM delivery WHERE roast = 'dark';
-- Which plantations do not supply any bean at the moment?
SELECT farm_name FROM farm WHERE farm_id NOT IN (SELECT farm_id FROM bean);
-- Which coffees cost less than the average coffee?
SELECT title FROM bean WHERE price_kg < (SELECT avg(price_kg) FROM bean);
-- Which treatment is used for most of our coffees?
SELECT process FROM bean GROUP BY process ORDER BY count(*) DESC LIMIT 1;
-- In which countries do we work with certified as well as uncertified farms?
SELECT country FROM farm WHERE certified = 1 INTERSECT SELECT country FROM farm WHERE certified = 0;
-- Which cafe got the most coffee by weight, all deliveries taken together?
SELECT T1.cafe_name FROM cafe AS T1 JOIN delivery AS T2 ON T1.cafe_id = T2.cafe_id GROUP BY T1.cafe_id ORDER BY sum(T2.kilograms) DESC LIMIT 1;
-- Which customers have ever received a decaf coffee? Each customer once.
SELECT DISTINCT T1.cafe_name FROM cafe AS T1 JOIN delivery AS T2 ON T1.cafe_id = T2.cafe_id JOIN bean AS T3 ON T2.bean_id = T3.bean_id WHERE T3.decaf = 1;
-- How many washed coffees taste better than our average cup score?
SELECT count(*) FROM bean WHERE process = 'washed' AND cup_score > (SELECT avg(cup_score) FROM bean);
